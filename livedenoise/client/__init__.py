"""For a user's own program: send frames to a running daemon, receive what it makes of them."""

from livedenoise.client.sender import FrameSender, SenderCounts
from livedenoise.client.subscriber import FrameSubscriber, MetricsSubscriber

__all__ = ["FrameSender", "FrameSubscriber", "MetricsSubscriber", "SenderCounts"]
