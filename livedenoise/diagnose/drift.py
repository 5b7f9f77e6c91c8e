"""How far the field drifts over a recording.

Knows: arrays, shifts of images. Must not know: files, verdicts.

Single frames are noisy, so frames at both ends are averaged; what is compared then lies less than
the recording apart. Where the last part lies furthest off, drift is taken to be steady and the
rest is added in proportion. That assumption enters the error: between none and twice as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from livedenoise.core.frame import Frame
from livedenoise.diagnose.facts import Number, measured
from livedenoise.diagnose.tiles import Image

if TYPE_CHECKING:
    from livedenoise.imaging.registration import Shift

_APART_PX = 0.5
"""Halves of the field that drift further apart than this are not one drift."""
_UNIFORM = 1.0 / np.sqrt(3.0)
"""Standard deviation of anything between 0 and twice a value, over that value."""
_THERE_AND_BACK = "at least: furthest from the start in between, not at the end"


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of some frames, and which frame is in their middle."""

    image: Image
    centre: float


def drift(
    runs: Sequence[Sequence[Frame]],
    n_frames: int,
    offset_adu: float,
    *,
    starts: Sequence[int] = (0,),
    moves: bool = False,
) -> Number:
    """Measure the largest shift of a later part of the recording against its start, in pixels.

    Parameters
    ----------
    runs : sequence of sequences of ndarray
        Runs of consecutive frames spread over the recording, counts (Y, X).
    n_frames : int
        Of the recording: an eighth of it is averaged at most.
    offset_adu : float
        Counts without light, as well as it is known.
    starts : sequence of int
        Number of the first frame of every run.
    moves : bool
        Whether most of the field moves: what lies anywhere then looks like a shift, and both
        halves of the field must show it.
    """
    if sum(len(run) for run in runs) < 2:
        return Number(value=None, unit="px", note="needs 2 frames")
    first, *parts = _parts(runs, starts, n_frames, offset_adu)
    found = [(s, part) for part in parts if (s := _shift(first.image, part.image)) is not None]
    if not found:
        return Number(value=None, unit="px", note="no structure to compare")
    shift, part = max(found, key=lambda pair: pair[0].length_px)
    if not _as_one(first.image, part.image, shift, sure=not moves):
        return Number(value=None, unit="px", note="parts of the field move differently")
    if part is not parts[-1] and shift.length_px > 3.0 * shift.error_px:
        return measured(shift.length_px, shift.error_px, unit="px", note=_THERE_AND_BACK)
    return _over_all(shift, (n_frames - 1) / (part.centre - first.centre))


def _over_all(shift: Shift, scale: float) -> Number:
    """Return the drift over the recording, ``scale`` times as long as between the parts."""
    added = shift.length_px * (scale - 1.0)
    error = float(np.hypot(shift.error_px * scale, added * _UNIFORM))
    return measured(shift.length_px + added, error, unit="px")


def _parts(
    runs: Sequence[Sequence[Frame]], starts: Sequence[int], n_frames: int, offset_adu: float
) -> list[_Part]:
    """Return the start of the recording, then the end of every later run."""
    width = int(np.clip(n_frames // 8, 1, len(runs[0])))
    middle = (width - 1) / 2.0
    ends = list(zip(runs, starts, strict=True))
    parts = [_Part(image=_mean(runs[0][:width], offset_adu), centre=starts[0] + middle)]
    for run, start in ends[1:] or ends:
        centre = start + len(run) - 1 - middle
        parts.append(_Part(image=_mean(run[-width:], offset_adu), centre=centre))
    return parts


def _as_one(first: Image, last: Image, whole: Shift, *, sure: bool) -> bool:
    """Return whether the halves of the field moved as the whole did.

    A half in which too little is to be seen counts as the whole does, if that is ``sure``.
    """
    middle = first.shape[1] // 2
    for half in (slice(0, middle), slice(middle, None)):
        shift = _shift(first[:, half], last[:, half])
        if shift is None and not sure:
            return False
        if shift is not None:
            apart = np.subtract(shift.shift_px, whole.shift_px)
            if float(np.hypot(*apart)) > _APART_PX + 3.0 * (shift.error_px + whole.error_px):
                return False
    return True


def _shift(first: Image, last: Image) -> Shift | None:
    from livedenoise.imaging.registration import measure_shift

    shift = measure_shift(first, last)
    return shift if shift.found else None


def _mean(frames: Sequence[Frame], offset_adu: float) -> Image:
    return np.asarray(np.mean(frames, axis=0, dtype=np.float32) - np.float32(offset_adu))
