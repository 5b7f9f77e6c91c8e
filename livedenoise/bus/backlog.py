"""Which frame a reader takes next: the two policies, decided without any I/O.

LOSSLESS takes every frame in order. LATEST(k, max_age) takes frames in order while at most ``k``
wait and the oldest is younger than ``max_age``; else it jumps to the newest and counts the rest as
skipped. Strict newest-only would skip frames on ordinary jitter of the scheduler.
"""

from __future__ import annotations

from collections import deque

import msgspec

from livedenoise.core.frame import FrameHeader


class Lossless(msgspec.Struct, frozen=True):
    """Every frame, in order; the writer keeps each slot until it is released."""


class Latest(msgspec.Struct, frozen=True):
    """Frames in order while the backlog is short and young, else the newest.

    Attributes
    ----------
    max_backlog : int
        Most frames that may wait.
    max_age_ns : int
        Age (since the pixels were complete) at which the oldest waiting frame is too old.
    """

    max_backlog: int
    max_age_ns: int


Policy = Lossless | Latest


def take(
    pending: deque[FrameHeader], policy: Policy, now_ns: int
) -> tuple[FrameHeader | None, list[FrameHeader]]:
    """Remove and return the next frame to read, and the frames skipped to get there.

    Parameters
    ----------
    pending : deque of FrameHeader
        Waiting frames, oldest first; changed in place.
    """
    if not pending:
        return None, []
    if isinstance(policy, Lossless):
        return pending.popleft(), []
    too_many = len(pending) > policy.max_backlog
    too_old = now_ns - pending[0].t_host_ns > policy.max_age_ns
    skipped = []
    if too_many or too_old:
        skipped = [pending.popleft() for _ in range(len(pending) - 1)]
    return pending.popleft(), skipped
