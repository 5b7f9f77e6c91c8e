"""What frames that are not as the camera made them do to the gain: refused, or its error widened.

Knows: noise shared between frames, motion, smoothing, and how far each moves the gain. Must not
know: how they are found, files, cameras.

- Frames that share noise (running mean, recursive filter, repeated frames) differ less from their
  neighbours than independent ones: the variance is too low and the gain too high, by more than can
  be told from the frames. Beyond 10 % between distant and neighbouring frames there is no gain.
- Motion adds to the variance: the gain is too low. Parts that moved are left out of the fit.
- Smoothing within a frame makes the gain too high by about the correlation factor.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.calibrate.results import Value
from livedenoise.imaging.ptc_blocks import TransferBlocks
from livedenoise.imaging.ptc_steady import MOST_MOVING, Steadiness

MOST_SHARED = 0.1
WORTH_TELLING = 0.03
SIGNIFICANT = 5.0
RECURSIVE = 3.0
"""A weak recursive filter that changes the ratio by x changes the variance by about 3 x."""
TOLD_MOVING = 0.005
MANY_MOVING = 0.05


def still_blocks(blocks: TransferBlocks, steady: Steadiness) -> TransferBlocks:
    """Return the blocks without those in which something moved, where at least half remain."""
    keep: npt.NDArray[np.bool_] = np.ones(len(blocks), dtype=bool)
    for level, moving in enumerate(steady.moving):
        mine = np.flatnonzero(blocks.level == level)
        keep[mine] = ~moving.ravel()[blocks.place[mine]]
    few = 0.0 < 1.0 - keep.mean() <= MOST_MOVING
    return blocks.subset(keep) if few else blocks


def refusal(steady: Steadiness | None) -> str:
    """Return why the variance of these frames is not that of single ones, or nothing."""
    if steady is None or not _departs(steady, MOST_SHARED):
        return "" if steady is None or steady.moving_share <= MOST_MOVING else _moved(steady)
    if steady.uniform or steady.ratio < 1.0:
        return (
            f"the frames share noise: frames two apart differ {steady.ratio:.2f} times as much (in "
            "variance) as neighbours, alike all over the image, as after a running mean, a "
            "recursive filter or repeated frames; turn averaging off in camera and driver"
        )
    return _moved(steady)


def _moved(steady: Steadiness) -> str:
    return (
        f"the scene moved or changed: frames two apart differ {steady.ratio:.2f} times as much (in "
        "variance) as neighbours, more in some parts than in others, and that counts as noise; "
        "take a scene that stands still"
    )


def _departs(steady: Steadiness, limit: float) -> bool:
    departure = abs(steady.ratio - 1.0)
    return departure > limit and departure > SIGNIFICANT * steady.error


def moved(steady: Steadiness | None) -> bool:
    """Return whether enough of the scene moved to correlate neighbouring pixels."""
    if steady is None:
        return False
    everywhere = _departs(steady, WORTH_TELLING) and not steady.uniform and steady.ratio > 1.0
    return everywhere or steady.moving_share > MANY_MOVING


def doubted(gain: Value, steady: Steadiness | None, correlation: Value, *, worrying: bool) -> Value:
    """Return the gain with known biases in its error, its status saying so.

    Parameters
    ----------
    gain : Value
        As the photon transfer gave it.
    steady : Steadiness or None
        What distant frames said.
    correlation : Value
        Factor by which smoothing makes the gain too high.
    worrying : bool
        Whether the neighbouring pixels' correlation is significant.
    """
    if gain.value is None or gain.status == "given":
        return gain
    biases, why = [], []
    if steady is not None and _departs(steady, WORTH_TELLING):
        departure = abs(steady.ratio - 1.0)
        filtered = steady.uniform or steady.ratio < 1.0
        biases.append(RECURSIVE * departure if filtered else departure)
        why.append("frames share noise" if filtered else "the scene moved: too low")
    if worrying and correlation.value is not None:
        biases.append(abs(correlation.value - 1.0))
        too = "perhaps by motion" if moved(steady) else f"too high by {correlation.value:.2f} times"
        why.append(f"neighbouring pixels share noise: {too}")
    if not biases:
        return gain
    bias = float(np.sqrt(np.sum(np.square(biases))))
    return msgspec.structs.replace(
        gain,
        error=float(np.hypot(gain.error or 0.0, bias * gain.value)),
        status="assumed" if gain.status == "assumed" else "measured, biased",
        text=f"{gain.text}; {', '.join(why)} (in the error)",
    )


def as_the_gain(value: Value, gain: Value) -> Value:
    """Return a value that was measured through the gain with the gain's reservation."""
    if value.status != "measured" or gain.status not in ("measured, biased", "assumed"):
        return value
    return msgspec.structs.replace(
        value, status=gain.status, text=f"{value.text}; as doubtful as the gain".lstrip("; ")
    )


def unsteady_warnings(steady: Steadiness | None) -> list[str]:
    """Return what people should know about motion and shared noise, one line each."""
    if steady is None:
        return []
    reason = refusal(steady)
    if reason:
        return [reason]
    found = []
    if _departs(steady, WORTH_TELLING):
        what = "something moved" if moved(steady) else "the frames share noise (a filter over time)"
        found.append(
            f"{what}: frames two apart differ {steady.ratio:.2f} times as much (in variance) as "
            "neighbours; the gain's error was widened by it"
        )
    if steady.moving_share > TOLD_MOVING:
        found.append(
            f"the scene moved in {steady.moving_share:.1%} of the image: left out of the fit"
        )
    return found
