"""Does the scene hold still? Decided from four successive raw frames, without camera constants.

Knows: frames as arrays and what noise alone can do. Must not know: streams, clocks, gains.

Noise of different frames is independent, with mean zero. Two consequences hold at 1 electron per
pixel as at 1000, with any noise variance, any gain, and noise shared by close neighbours:

- **Trend.** Noise has no direction in time: the linear trend through the four frames carries as
  much power as the quadratic and the cubic one. Drift puts more into the linear trend (frames
  three periods apart differ more than neighbours), vibration less. Compared in blocks of 4 and of
  8 px, since motion is smooth in space and noise is not.
- **Place.** The same comparison within each block of 8 px finds one moving grain in a still scene,
  which the sums over all blocks do not see.
- **Gradient.** To first order a shift changes a pixel by the shift times the gradient of the scene
  (Lucas & Kanade, IJCAI 1981). Noise is not correlated with the gradient of the mean frame. Scored
  in each quarter of the region, so that parts that move against each other do not cancel.

Trend and gradient scores are sums over blocks divided by the root of the sum of squares of the
same terms (self-normalised: de la Pena, Lai & Shao, "Self-Normalized Processes", 2009). Under noise
alone they have mean square 1 whatever the noise; that is why no constants are needed.

A global change of brightness (flicker, bleaching) is fitted on the mean frame and taken out before;
it is reported apart and is no motion.
"""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]

BURST_FRAMES = 4
_BLOCK_PX = 8
_FINE_PX = 4
_LEAST_EDGE_PX = 4 * _BLOCK_PX
"""A region smaller than this says too little about motion: it is taken as still."""

GRADIENT_SCORES = 24
"""Three trends x two directions x four quarters: mean of the sum of squares without motion."""

_TINY = np.float32(1e-20)
_LEAST_PIXELS = 6.0
"""Pixels that must carry the power of a block before its place is judged: one may blink."""

_TREND_LIMIT = 6.5
_GRADIENT_LIMIT = 70.0
_PLACE_LIMIT = 4.5
"""Limits of one sample: reached by noise less than once in 100,000 samples."""

_RUN_SAMPLES = 16
_RUN_GRADIENT_LIMIT = 8.5
_RUN_PLACE_LIMIT = 0.6
"""Scores above their mean without motion, over the last 16 samples: five standard deviations."""

_STILL_PLACE = 2.1
"""Mean of the largest block's score without motion (a maximum of 256)."""

_CALM_SAMPLES = 8
_CALM_SHARE = 0.8
"""Hysteresis: motion is over after so many samples in a row below this share of the limits."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one burst says.

    Attributes
    ----------
    trend : float
        The larger (in magnitude) of the two trend scores; about normal(0, 1) without motion.
    gradient : float
        Sum of the squared gradient scores; mean ``GRADIENT_SCORES`` without motion.
    place : float
        Largest score of a single block.
    control : float
        The same score of the quadratic trend: what ``place`` is without motion, about 2.1 where
        the noise is white, more where neighbours share it.
    """

    trend: float = 0.0
    gradient: float = float(GRADIENT_SCORES)
    place: float = 0.0
    control: float = 0.0


def align_brightness(frames: Image) -> Image:
    """Return the frames with the brightness of the first one.

    ``x_k - x_0 = p + q (m - mean(m))`` is fitted by least squares with m the mean of all frames,
    and taken out. Noise does not bias p and q: the difference of two frames is not correlated with
    their mean.

    Parameters
    ----------
    frames : ndarray
        float32 (T, Y, X), about zero (counts less a common level), so that nothing is rounded.
    """
    mean = frames.mean(axis=0)
    mean -= mean.mean()
    power = float(np.einsum("yx,yx->", mean, mean))
    aligned = frames.copy()
    for k in range(1, len(frames)):
        change = frames[k] - frames[0]
        slope = float(np.einsum("yx,yx->", change, mean)) / power if power > 0 else 0.0
        aligned[k] -= np.float32(slope) * mean
        aligned[k] -= change.mean()
    return aligned


def motion_evidence(aligned: Image) -> Evidence:
    """Score one burst.

    Parameters
    ----------
    aligned : ndarray
        float32 (4, Y, X), about zero, successive frames of equal brightness (``align_brightness``).

    Raises
    ------
    ValueError
        If there are not four frames.
    """
    if len(aligned) != BURST_FRAMES:
        raise ValueError(f"{BURST_FRAMES} successive frames are needed, got {len(aligned)}")
    if min(aligned.shape[1:]) < _LEAST_EDGE_PX:
        return Evidence()
    trends = _trends(aligned)
    powers = [np.square(trend) for trend in trends]
    sizes = (_FINE_PX, _BLOCK_PX)
    scores = [_trend_score([_block_sums(t, size) for t in trends]) for size in sizes]
    return Evidence(
        trend=max(scores, key=abs),
        gradient=_gradient_power(aligned.mean(axis=0), trends),
        place=_place_score(powers, 0),
        control=_place_score(powers, 1),
    )


class MotionDetector:
    """Turns evidence into a verdict, with hysteresis.

    One strong sample starts motion at once; weak motion is seen in the mean of the last
    16 samples. It ends after 8 calm samples in a row.

    Attributes
    ----------
    moving : bool
        The verdict after the last sample.
    """

    def __init__(self) -> None:
        self.moving = False
        self._recent: deque[Evidence] = deque(maxlen=_RUN_SAMPLES)
        self._controls: deque[float] = deque(maxlen=_RUN_SAMPLES)
        self._calm = 0

    def add(self, evidence: Evidence) -> int:
        """Take a sample; return how many of the last samples, this one included, are moving.

        0 when the scene holds still. When motion has just been found in the mean of many samples,
        all of those were taken during motion.
        """
        self._controls.append(evidence.control)
        control = max(sum(self._controls) / len(self._controls), _STILL_PLACE)
        place = evidence.place * _STILL_PLACE / control
        evidence = msgspec.structs.replace(evidence, place=place)
        self._recent.append(evidence)
        if _strength(evidence) > 1.0:
            self._calm = 0
            self.moving = True
            # It stands for itself; what follows it is judged without it.
            self._recent.clear()
            return 1
        strength = self._run_strength()
        if strength > 1.0 and not self.moving:
            self.moving, self._calm = True, 0
            return len(self._recent)
        if self.moving:
            self._calm = self._calm + 1 if strength < _CALM_SHARE else 0
            self.moving = self._calm < _CALM_SAMPLES
        return int(self.moving)

    def reset(self) -> None:
        """Forget everything: another scene or another camera mode."""
        self.moving = False
        self._recent.clear()
        self._controls.clear()
        self._calm = 0

    def _run_strength(self) -> float:
        """Return the evidence of the last samples together, in units of its limit."""
        n = len(self._recent)
        trend = sum(e.trend for e in self._recent) / float(np.sqrt(n))
        gradient = sum(e.gradient for e in self._recent) / n - GRADIENT_SCORES
        place = sum(e.place for e in self._recent) / n - _STILL_PLACE
        excess = max(gradient / _RUN_GRADIENT_LIMIT, place / _RUN_PLACE_LIMIT)
        return max(abs(trend) / _TREND_LIMIT, excess * float(np.sqrt(n / _RUN_SAMPLES)))


def _strength(evidence: Evidence) -> float:
    """Return the evidence of one sample in units of its limit."""
    excess = (evidence.gradient - GRADIENT_SCORES) / (_GRADIENT_LIMIT - GRADIENT_SCORES)
    return max(abs(evidence.trend) / _TREND_LIMIT, excess, evidence.place / _PLACE_LIMIT)


def _trends(x: Image) -> tuple[Image, Image, Image]:
    """Return the linear, quadratic and cubic trend of each pixel: orthonormal contrasts."""
    outer, inner = x[3] - x[0], x[2] - x[1]
    root = np.float32(1.0 / np.sqrt(20.0))
    linear = (np.float32(3.0) * outer + inner) * root
    quadratic = (x[0] - x[1] - x[2] + x[3]) * np.float32(0.5)
    cubic = (outer - np.float32(3.0) * inner) * root
    return linear, quadratic, cubic


def _trend_score(blocks: list[Image]) -> float:
    """Return how far the power of the linear trend is from that of the other two."""
    linear, quadratic, cubic = (np.square(b) for b in blocks)
    terms = linear - (quadratic + cubic) / 2.0
    # Neighbours may share motion, not noise: the root of the sum of squares is what noise does.
    spread = float(np.sqrt(np.square(terms).sum()))
    return float(terms.sum()) / spread if spread > 0 else 0.0


def _place_score(powers: list[Image], which: int) -> float:
    """Return the largest score of one trend's power over that of the others, in blocks of 8 px.

    The logarithm of the ratio has variance 2 / n + 2 / (2 n) where n pixels carry the power (an F
    ratio); n is the participation ratio of the pixels' powers.
    """
    power = powers[0] + powers[1] + powers[2]
    total = _block_sums(power, _BLOCK_PX)
    carried_by = total**2 / np.maximum(_block_sums(np.square(power), _BLOCK_PX), _TINY)
    chosen = _block_sums(powers[which], _BLOCK_PX)
    ratio = chosen / np.maximum((total - chosen) / np.float32(2.0), _TINY)
    score = np.log(np.maximum(ratio, _TINY)) * np.sqrt(carried_by / np.float32(3.0))
    return float(np.where(carried_by >= _LEAST_PIXELS, score, np.float32(0.0)).max())


def _gradient_power(mean: Image, trends: tuple[Image, Image, Image]) -> float:
    total = 0.0
    for gradient in _gradients(mean):
        for trend in trends:
            terms = _block_sums(gradient * trend, _BLOCK_PX)
            total += sum(_squared_score(quarter) for quarter in _quarters(terms))
    return total


def _squared_score(terms: Image) -> float:
    power = float(np.square(terms).sum())
    return float(terms.sum()) ** 2 / power if power > 0 else 1.0


def _gradients(mean: Image) -> tuple[Image, Image]:
    """Return central differences along y and x of the smoothed image; 0 at the border.

    The pixel itself has weight zero in both, so that its own noise does not score.
    """
    two, quarter = np.float32(2.0), np.float32(0.25)
    smooth = mean.copy()
    smooth[1:-1] = (mean[:-2] + two * mean[1:-1] + mean[2:]) * quarter
    wide = smooth.copy()
    wide[:, 1:-1] = (smooth[:, :-2] + two * smooth[:, 1:-1] + smooth[:, 2:]) * quarter
    along_y, along_x = np.zeros_like(wide), np.zeros_like(wide)
    along_y[1:-1] = wide[2:] - wide[:-2]
    along_x[:, 1:-1] = wide[:, 2:] - wide[:, :-2]
    return along_y, along_x


def _block_sums(image: Image, size: int) -> Image:
    rows, columns = image.shape[0] // size, image.shape[1] // size
    whole = image[: rows * size, : columns * size]
    in_rows = whole.reshape(rows, size, columns * size).sum(axis=1)
    return np.asarray(in_rows.reshape(rows, columns, size).sum(axis=2))


def _quarters(terms: Image) -> list[Image]:
    row, column = terms.shape[0] // 2, terms.shape[1] // 2
    return [half[:, part] for half in (terms[:row], terms[row:]) for part in _halves(column)]


def _halves(middle: int) -> tuple[slice, slice]:
    return slice(None, middle), slice(middle, None)
