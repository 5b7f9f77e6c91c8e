"""What became of every image that was given to a hook.

Knows: counters. Must not know: how they come about.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from livedenoise.client.sender import SenderCounts


class LineCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the images of one endpoint, of all hooks of this process together.

    Attributes
    ----------
    offered : int
        Images handed over.
    waiting : int
        In the queue, or in hand.
    dropped : dict
        Not sent: ``overtaken`` (the queue was full), ``facts`` (numbers no frame has, such as a
        negative exposure), ``closed`` (still waiting at the end), ``error``.
    sender : SenderCounts
        What became of the others.
    """

    offered: int
    waiting: int
    dropped: dict[str, int]
    sender: SenderCounts


class HookCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every image. ``images == handed + sum(passed_by)``.

    Attributes
    ----------
    images : int
        Calls of the hook.
    handed : int
        Images handed over to a line.
    passed_by : dict
        Images no line was given: ``colour``, ``shape``, ``dtype``, ``no_array`` (not frames),
        ``no_endpoint`` (multi-camera: none for this camera), ``unreadable``, ``closed``, ``error``.
    unknown_axes : int
        Images whose axes were in none of the ``events``.
    lines : dict
        By endpoint; a line serves all hooks of this process that use the endpoint.
    denoised : dict
        With ``denoised="beside"``: ``expected``, ``delivered`` and what became of the rest.
    """

    images: int
    handed: int
    passed_by: dict[str, int]
    unknown_axes: int
    lines: dict[str, LineCounts]
    denoised: dict[str, int]

    @property
    def taken(self) -> int:
        """Return how many images the daemon has."""
        return sum(line.sender.taken for line in self.lines.values())

    @property
    def dropped(self) -> dict[str, int]:
        """Return by reason how many images were handed over and did not arrive."""
        total: Counter[str] = Counter()
        for line in self.lines.values():
            for by_reason in (line.dropped, line.sender.dropped, line.sender.refused):
                total.update(by_reason)
        return dict(total)
