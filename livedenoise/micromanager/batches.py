"""A cycle of commanded exposures as batches the camera can take by itself. Pure.

Knows: how a cycle goes on, how long a batch may be. Must not know: cores, cameras.

A camera that takes its exposures from a loaded sequence counts by itself: were it to lose a frame,
every later one would have the wrong exposure. So it is started anew after a bounded number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from livedenoise.core.camera import Event

BATCH_FRAMES = 100


def event_at(cycle: Sequence[Event], count: int) -> Event:
    """Return the event of the ``count``-th frame of a run; its index goes on counting.

    The first round keeps the indices given; each further one adds as many as the cycle spans.
    """
    rounds, place = divmod(count, len(cycle))
    event = cycle[place]
    if not rounds:
        return event
    span = max(one.index for one in cycle) - min(one.index for one in cycle) + 1
    return Event(
        index=event.index + rounds * span,
        exposure_us=event.exposure_us,
        role=event.role,
        channel=event.channel,
    )


def batch_sizes(cycle: int, n_frames: int | None, *, most: int = BATCH_FRAMES) -> Iterator[int]:
    """Yield how many frames each batch has: whole cycles, but for the last one.

    Parameters
    ----------
    cycle : int
        Events in the cycle.
    n_frames : int, optional
        Frames in all; None means without end.
    most : int
        Frames of a batch; at least one cycle.
    """
    size = max(1, most // cycle) * cycle
    left = n_frames
    while left is None or left > 0:
        this = size if left is None else min(size, left)
        yield this
        left = None if left is None else left - this
