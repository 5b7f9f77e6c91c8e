"""What a preflight found, as plain values: made by ``daemon.preflight``, shown by ``check_report``.

Knows: names and units of the report. Must not know: how anything was measured or is drawn.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was checked.

    Attributes
    ----------
    group : str
        What it belongs to: ``cameras``, ``engine``, ``memory``, ``disk``, ``network``, ``machine``.
    name : str
        What was checked; with the camera's name where it belongs to one.
    ok : str
        ``problem`` stops or spoils the experiment, ``warning`` may.
    text : str
        What was found, with numbers.
    mend : str
        What to do about it, empty when nothing is to do.
    """

    group: str
    name: str
    ok: Level
    text: str
    mend: str = ""


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """How fast one stage can go on this machine, as measured.

    Attributes
    ----------
    fps, mb_per_s : float
        Frames a second, and the 1e6 bytes of pixels it moves a second at that rate (at the
        recorder of every stream; 0 for messages).
    needs_fps : float
        What the camera will deliver; 0 where it goes as fast as its frames are taken.
    method : str
        How it was measured.
    limits : bool
        Whether it is the lowest of its camera.
    """

    camera: str
    stage: str
    fps: float
    mb_per_s: float
    needs_fps: float
    method: str
    limits: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the ceilings of one camera mean for its frames."""

    camera: str
    ok: Level
    text: str
    mend: str = ""


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole preflight. ``ceilings`` and ``verdicts`` are empty when they were not measured."""

    config: str
    exit_code: int
    quick: bool
    findings: tuple[Finding, ...]
    ceilings: tuple[Ceiling, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
