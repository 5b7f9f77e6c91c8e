"""When draining is given up: nothing has moved for too long. Pure: the moment is given."""

from __future__ import annotations

from collections.abc import Sequence

from livedenoise.daemon.stages import StageHandle

_HANDLED = ("captured", "received", "denoised", "passthrough", "recorded", "already_recorded")


class DrainWatch:
    """Follows the counters of the stages while a run drains.

    Parameters
    ----------
    limit_ns : int
        Time without any progress after which draining is given up.
    """

    def __init__(self, limit_ns: int) -> None:
        self._limit_ns = limit_ns
        self._moved = -1
        self._since_ns = 0
        self.draining = False

    def follow(self, handles: Sequence[StageHandle], *, draining: bool, now_ns: int) -> bool:
        """Return whether nothing has moved for too long since draining began."""
        moved = sum(_handled(handle) for handle in handles)
        # A slow camera may have been still for long before it was stopped.
        began = draining and not self.draining
        if moved != self._moved or began:
            self._moved, self._since_ns = moved, now_ns
        self.draining = draining
        # A stage that announced a long call is not expected to move before its end.
        busy_ns = max((h.busy_until_ns for h in handles if not h.over), default=0)
        return draining and now_ns - max(self._since_ns, busy_ns) > self._limit_ns


def _handled(handle: StageHandle) -> int:
    """Return the frames a stage has handled: what others ask of it is no progress."""
    counts = handle.metrics.get("counts", {})
    return sum(int(counts.get(name, 0)) for name in _HANDLED)
