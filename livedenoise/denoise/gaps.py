"""Which frames the clean stream does not hold, and why: the raw stream's gaps, then our own. Pure.

Frames leave the engine in the order they went in, and a gap must be told between the right two of
them; so gaps wait here until the frame after them is published.
"""

from __future__ import annotations

from bisect import insort

import msgspec

SKIPPED = "skipped"
"""Reason of frames the policy jumped over, or that were overwritten before they were read."""

_MOST = 64
"""Gaps kept apart; beyond it neighbours are joined, with all their reasons."""


class MissingFrames(msgspec.Struct, frozen=True, order=True):
    """Frames ``first`` to ``last``, both included."""

    first: int
    last: int
    reason: str


class CleanGaps:
    """Collects what is missing; ``take`` hands it out in order."""

    def __init__(self) -> None:
        self._next_seq: int | None = None
        self._jump_reason = SKIPPED
        self._missing: list[MissingFrames] = []

    def took(self, seq: int) -> None:
        """Note that frame ``seq`` was read: what lies between it and the last one was not."""
        if self._next_seq is not None and seq > self._next_seq:
            self._add(self._next_seq, seq - 1, self._jump_reason)
        self._jump_reason = SKIPPED
        self._next_seq = seq + 1

    def lost(self, first: int, last: int, reason: str) -> None:
        """Note frames known to be lost: told by the raw stream, or dropped here."""
        if self._next_seq is not None and first > self._next_seq:
            self._add(self._next_seq, first - 1, self._jump_reason)
            self._jump_reason = SKIPPED
        self._add(first, last, reason)
        self._next_seq = max(last + 1, self._next_seq or 0)

    def seam(self, reason: str) -> None:
        """Note that the raw stream's writer was replaced: the next jump is its doing."""
        self._jump_reason = reason

    def take(self, before: int | None) -> list[MissingFrames]:
        """Return, once, what is missing before frame ``before``; None returns everything."""
        if before is None:
            found, self._missing = self._missing, []
            return found
        found = [gap for gap in self._missing if gap.first < before]
        self._missing = self._missing[len(found) :]
        return found

    def _add(self, first: int, last: int, reason: str) -> None:
        insort(self._missing, MissingFrames(first, last, reason))
        if len(self._missing) > _MOST:
            one, two = self._missing[:2]
            reasons = "+".join(sorted({*one.reason.split("+"), *two.reason.split("+")}))
            joined = MissingFrames(one.first, max(one.last, two.last), reasons)
            self._missing[:2] = [joined]
