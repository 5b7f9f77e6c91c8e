"""Frames made comparable: repeats left out, unequal light evened out.

Knows: runs of frames. Must not know: files, noise models, verdicts.

Where the light flickers by a fraction f, the difference of two frames holds f times the image,
which reads as motion and as correlation. The frames of a run are therefore divided by their
light, where structure is strong enough to measure it from: blocks of 8 px are compared with their
mean over the run, so that no offset needs to be known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame

Image = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_BLOCK_PX = 8
_LEAST_AGREEMENT = 0.9
"""Correlation of the blocks of two frames from which their noise hardly matters."""
_LEAST_UNEVEN = 0.02
_LEAST_LIGHT = 0.05
_FEW = 4


class Comparable(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of two frames or more as float32, without repeats, in even light.

    ``evened`` says whether any had to be divided by its light.
    """

    runs: list[list[Image]]
    evened: bool


def comparable_runs(runs: Sequence[Sequence[Frame]]) -> Comparable:
    """Return the runs with two different frames or more, made comparable."""
    found, evened = [], False
    for run in runs:
        kept = [frame.astype(np.float32) for frame in _without_repeats(run)]
        if len(kept) > 1:
            light = _uneven_light(kept)
            found.append(kept if light is None else _divided(kept, light))
            evened |= light is not None
    return Comparable(runs=found, evened=evened)


def structure_adu(run: Sequence[Frame]) -> float:
    """Return the contrast that neighbouring frames have in common: standard deviation of areas.

    Medians of 3 px (no hot pixels) in blocks of 8 px; noise, which frames do not share, drops out.
    """
    from scipy.ndimage import median_filter

    few = [_blocks(median_filter(frame.astype(np.float32), size=3)) for frame in run[:_FEW]]
    centred = [blocks - blocks.mean() for blocks in few]
    shared = np.array([(a * b).mean() for a, b in pairwise(centred)])
    return float(np.sqrt(max(0.0, float(shared.mean()))))


def _without_repeats(run: Sequence[Frame]) -> list[Frame]:
    kept = [run[0]]
    kept += [b for a, b in pairwise(run) if not np.array_equal(a, b)]
    return kept


def _uneven_light(run: list[Image]) -> Doubles | None:
    light = light_of(np.stack([_blocks(frame) for frame in run]))
    if light is None or float(np.abs(light - 1.0).max()) < _LEAST_UNEVEN:
        return None
    # A frame without light cannot be divided by it.
    return light if float(light.min()) > _LEAST_LIGHT else None


def _divided(run: list[Image], light: Doubles) -> list[Image]:
    """Divide by the light, in units in which the mean of 1 / light is 1.

    The variance of a divided frame is its counts times slope / light: the line keeps its slope,
    and an offset its counts.
    """
    level = light * float(np.mean(1.0 / light))
    return [frame / np.float32(one) for frame, one in zip(run, level, strict=True)]


def light_of(blocks: Doubles) -> Doubles | None:
    """Return the light of every frame, mean 1, from the means of its blocks, (frames, blocks).

    None where frames agree too little: noise, or a scene that moves.
    """
    centred = blocks - blocks.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=1))
    if not spread.all():
        return None
    agreement = (centred[0] * centred[-1]).mean() / (spread[0] * spread[-1])
    if agreement < _LEAST_AGREEMENT:
        return None
    # A frame's noise is in the mean as well, but every frame's alike: no frame is favoured.
    reference = centred.mean(axis=0)
    light: Doubles = (centred @ reference) / np.square(reference).sum()
    return light


def _blocks(frame: Image) -> Doubles:
    rows, columns = (n // _BLOCK_PX for n in frame.shape)
    cut = frame[: rows * _BLOCK_PX, : columns * _BLOCK_PX]
    tiles = cut.reshape(rows, _BLOCK_PX, columns, _BLOCK_PX)
    means: Doubles = tiles.mean(axis=(1, 3), dtype=np.float64).ravel()
    return means
