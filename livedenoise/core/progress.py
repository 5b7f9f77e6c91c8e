"""Progress of long work, as values: whoever works yields them, whoever shows them renders them."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One step of long work: ``done`` of ``total`` ``unit`` (total 0 when unknown)."""

    task: str
    done: int
    total: int
    unit: str = "frames"
    note: str = ""


class OnProgress(Protocol):
    """Receives progress; must return quickly."""

    def __call__(self, progress: Progress) -> None:
        """Take one step of progress."""


def ignore_progress(progress: Progress) -> None:
    """Take progress and show nothing."""
