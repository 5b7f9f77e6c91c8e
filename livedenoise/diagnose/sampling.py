"""Which frames of a recording are looked at: runs of neighbours, and single ones for the trend.

Knows: sources of frames. Must not know: what is measured.

Memory is bounded whatever the recording: the middle of a frame up to ``EDGE_PX``, ``MOST_RUNS``
runs of ``RUN_FRAMES``, and one mean for each of at most ``TREND_FRAMES`` frames.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame, max_count
from livedenoise.core.source import FrameSource
from livedenoise.diagnose.pixel_values import clipped_at

EDGE_PX = 768
RUN_FRAMES = 8
MOST_RUNS = 4
TREND_FRAMES = 64
LEAST_EDGE_PX = 32

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What was read.

    Attributes
    ----------
    runs : tuple of tuple of ndarray
        Runs of consecutive frames, counts (Y, X), the middle of each frame.
    starts : tuple of int
        Number of the first frame of every run.
    trend_index, trend_mean : ndarray
        Frame numbers and mean counts of frames spread over the recording, (n,).
    zero_fraction, top_fraction : float
        Pixels at 0, and at the highest count: that of the bit depth, or where they pile up below
        it. 0 for float frames, which have neither.
    histogram : ndarray of int64
        Pixels at each count of integer frames; empty for float ones.
    repeats : int
        Frames of the runs that equal the one before.
    """

    runs: tuple[tuple[Frame, ...], ...]
    starts: tuple[int, ...]
    trend_index: npt.NDArray[np.int64]
    trend_mean: Doubles
    zero_fraction: float
    top_fraction: float
    histogram: Counts
    repeats: int

    @property
    def frames(self) -> list[Frame]:
        """Return all frames of the runs."""
        return [frame for run in self.runs for frame in run]


def sample(source: FrameSource, on_frame: Callable[[int, int], None] | None = None) -> Sampled:
    """Read a recording's sample.

    Parameters
    ----------
    source : FrameSource
        Open.
    on_frame : callable, optional
        Called with frames read and to be read.

    Raises
    ------
    ConfigError
        If a frame is damaged, or a pixel is not finite.
    """
    starts, length = _run_starts(source.n_frames)
    trend = np.unique(np.linspace(0, source.n_frames - 1, TREND_FRAMES).round().astype(np.int64))
    total = len(starts) * length + len(trend)
    done = 0

    def read(index: int) -> Frame:
        nonlocal done
        frame = _finite(source, index)
        done += 1
        if on_frame is not None:
            on_frame(done, total)
        return frame

    window = _middle(source.shape)
    runs = tuple(
        tuple(read(index)[window].copy() for index in range(start, start + length))
        for start in starts
    )
    means = np.array([read(int(index)).mean(dtype=np.float64) for index in trend])
    return _sampled(source, dict(zip(starts, runs, strict=True)), trend, means)


def _finite(source: FrameSource, index: int) -> Frame:
    frame = source.read(index)
    if frame.dtype.kind == "f" and not np.isfinite(frame).all():
        raise ConfigError(
            f"{source.path}: frame {index} holds pixels that are infinite or not a number",
            "give the frames as they were recorded",
        )
    return frame


def _sampled(
    source: FrameSource,
    runs: dict[int, tuple[Frame, ...]],
    trend: npt.NDArray[np.int64],
    means: Doubles,
) -> Sampled:
    frames = [frame for run in runs.values() for frame in run]
    histogram = _histogram(frames)
    zero = top = 0.0
    if histogram.size:
        highest = clipped_at(histogram) or max_count(source.bit_depth)
        zero = float(histogram[0]) / float(histogram.sum())
        top = float(histogram[highest:].sum()) / float(histogram.sum())
    return Sampled(
        runs=tuple(runs.values()),
        starts=tuple(runs),
        trend_index=trend,
        trend_mean=means,
        zero_fraction=zero,
        top_fraction=top,
        histogram=histogram,
        repeats=sum(np.array_equal(a, b) for run in runs.values() for a, b in pairwise(run)),
    )


def _histogram(frames: list[Frame]) -> Counts:
    if frames[0].dtype.kind != "u":
        return np.zeros(0, np.int64)
    most = max(int(frame.max()) for frame in frames) + 1
    histogram = np.zeros(most, np.int64)
    for frame in frames:
        histogram += np.bincount(frame.ravel(), minlength=most)
    return histogram


def _run_starts(n_frames: int) -> tuple[tuple[int, ...], int]:
    """Return where the runs start and how long each is; runs do not overlap."""
    length = min(RUN_FRAMES, n_frames)
    most = max(1, min(MOST_RUNS, n_frames // length))
    last = n_frames - length
    starts = np.linspace(0, last, most).round().astype(int) if most > 1 else np.zeros(1, int)
    return tuple(int(start) for start in starts), length


def _middle(shape: tuple[int, int]) -> tuple[slice, slice]:
    rows, columns = (min(EDGE_PX, side) for side in shape)
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)
