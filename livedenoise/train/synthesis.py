"""Noisy and clean training patches in network units, made from clean scenes.

Knows: which cameras and light levels the network must serve, and their noise, patch by patch.
Must not know: networks, torch, files, how scenes are drawn.

The physics is that of ``imaging.sensor``, reduced to what a network sees after conversion to
``u = electrons + read_noise_e**2`` (k-sigma: Wang et al., PMRID, ECCV 2020). Every random number
comes from the generator that is passed in, so a batch is a pure function of its seed.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rng = np.random.Generator

PEAK_RANGE_E = (0.3, 3000.0)
"""Electrons at the brightest 1 % of a scene, log-uniform."""

BRIGHT_RANGE_E = (3000.0, 30000.0)
"""Electrons of the few patches up to full well, so that bright frames are no new territory."""

READ_NOISE_RANGE_E = (0.1, 10.0)
"""Median read noise, log-uniform: from ORCA-Quest and EMCCD to interline CCD."""


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """Random conditions of N patches; every array is float32 (N, 1, 1) unless it says boolean.

    Attributes
    ----------
    peak_e, pedestal_e : ndarray
        Electrons that 1.0 of the scene stands for, and a flat background under it.
    read_noise_e, read_noise_log_sd, telegraph_fraction : ndarray
        Median read noise, spread of its logarithm over pixels, share of noisy pixels.
    multiplied : ndarray of bool
        Electron-multiplied (excess noise factor 2).
    blur_y_px, blur_x_px : ndarray
        Gaussian sd that correlates the noise along Y and X; 0 for independent pixels.
    step_e : ndarray
        Electrons per count where counts are rounded; 0 for none.
    floor_e : ndarray
        Lowest value, electrons below which counts are clipped; ``-inf`` for none.
    gain_error, read_noise_error, offset_error_e : ndarray
        How wrong the constants are that the user gave or the software estimated.
    """

    peak_e: FloatArray
    pedestal_e: FloatArray
    read_noise_e: FloatArray
    read_noise_log_sd: FloatArray
    telegraph_fraction: FloatArray
    multiplied: npt.NDArray[np.bool_]
    blur_y_px: FloatArray
    blur_x_px: FloatArray
    step_e: FloatArray
    floor_e: FloatArray
    gain_error: FloatArray
    read_noise_error: FloatArray
    offset_error_e: FloatArray


TELEGRAPH_FACTOR = 2.6


def draw_conditions(rng: Rng, n: int) -> Draw:
    """Draw the conditions of ``n`` patches over every preset camera and 0.3-30000 electrons."""
    shape = (n, 1, 1)
    bright = rng.random(shape) < 0.06
    peak = np.where(bright, _log_uniform(rng, *BRIGHT_RANGE_E, shape), _peak(rng, shape))
    pedestal = peak * _some(rng, shape, 0.5, lambda: _log_uniform(rng, 2e-3, 0.5, shape))
    dominated = np.sqrt(peak * _log_uniform(rng, 0.3, 8.0, shape)).clip(*READ_NOISE_RANGE_E)
    usual = _log_uniform(rng, *READ_NOISE_RANGE_E, shape)
    read_noise = np.where(rng.random(shape) < 0.25, dominated, usual)
    multiplied = rng.random(shape) < 0.1
    blur = _some(rng, shape, 0.3, lambda: rng.uniform(0.3, 0.9, shape))
    along_x_only = rng.random(shape) < 0.3
    sd = np.sqrt(0.3 * peak + pedestal + read_noise**2)
    wrong = rng.random(shape) < 0.5
    fields = {
        "peak_e": peak,
        "pedestal_e": pedestal,
        "read_noise_e": read_noise,
        "read_noise_log_sd": rng.uniform(0.0, 0.35, shape),
        "telegraph_fraction": rng.uniform(0.0, 0.03, shape),
        "blur_y_px": np.where(along_x_only, 0.0, blur),
        "blur_x_px": blur,
        "step_e": _some(rng, shape, 0.4, lambda: sd * _log_uniform(rng, 0.05, 1.5, shape)),
        "floor_e": np.where(rng.random(shape) < 0.12, -sd * rng.uniform(0, 3, shape), -np.inf),
        "gain_error": np.where(wrong, _log_uniform(rng, 0.75, 4 / 3, shape), 1.0),
        "read_noise_error": np.where(wrong, _log_uniform(rng, 0.75, 4 / 3, shape), 1.0),
        "offset_error_e": np.where(wrong, 0.15 * sd * rng.standard_normal(shape), 0.0),
    }
    single = {name: values.astype(np.float32) for name, values in fields.items()}
    return Draw(multiplied=multiplied, **single)


def synthesize(scenes: FloatArray, draw: Draw, rng: Rng) -> tuple[FloatArray, FloatArray]:
    """Return noisy patches and their true means, both in ``u``, float32 (N, Y, X).

    The truth of a clipped patch is the mean of the clipped value, so that local means of input
    and truth agree; wrong constants stand in both, so the truth is what a user with those
    constants would call right.

    Parameters
    ----------
    scenes : ndarray
        Clean patches (N, Y, X), float, 1.0 at the brightest 1 % of the scene.
    draw : Draw
        Conditions of each patch.
    rng : numpy.random.Generator
        Source of the noise.
    """
    clean = np.maximum(scenes * draw.peak_e + draw.pedestal_e, 0).astype(np.float32)
    signal = _signal_noise(clean, draw, rng)
    read_map, read_rms = _read_noise_map(draw, clean.shape, rng)
    noise = signal - clean + read_map * rng.standard_normal(clean.shape, dtype=np.float32)
    noise = _correlate(noise, draw)
    variance = clean * np.where(draw.multiplied, np.float32(2), np.float32(1)) + read_map**2
    measured = _round_to(np.maximum(clean + noise, draw.floor_e), draw.step_e)
    truth = _clipped_mean(clean, np.sqrt(variance), draw.floor_e)
    return _to_u(measured, read_rms, draw), _to_u(truth, read_rms, draw)


def _signal_noise(clean: FloatArray, draw: Draw, rng: Rng) -> FloatArray:
    electrons = rng.poisson(clean).astype(np.float32)
    which = draw.multiplied[:, 0, 0]
    if which.any():  # a gamma of shape n is n electrons through an ideal multiplication register
        electrons[which] = rng.standard_gamma(electrons[which], dtype=np.float32)
    return electrons


def _read_noise_map(draw: Draw, shape: tuple[int, ...], rng: Rng) -> tuple[FloatArray, FloatArray]:
    """Return the read noise of every pixel and its root mean square over the sensor."""
    spread = np.exp(draw.read_noise_log_sd * rng.standard_normal(shape, dtype=np.float32))
    noisy = rng.random(shape, dtype=np.float32) < draw.telegraph_fraction
    read_map = draw.read_noise_e * spread * np.where(noisy, np.float32(TELEGRAPH_FACTOR), 1)
    tail = 1 + draw.telegraph_fraction * (TELEGRAPH_FACTOR**2 - 1)
    rms = draw.read_noise_e * np.exp(draw.read_noise_log_sd**2) * np.sqrt(tail)
    return read_map.astype(np.float32), rms.astype(np.float32)


def _correlate(noise: FloatArray, draw: Draw) -> FloatArray:
    """Smooth the noise of some patches and give it its variance back."""
    from scipy.ndimage import correlate1d

    result = noise.copy()
    for index in np.flatnonzero(draw.blur_x_px[:, 0, 0] > 0):
        for axis, blur in ((0, draw.blur_y_px), (1, draw.blur_x_px)):
            sigma = float(blur[index, 0, 0])
            if sigma > 0:
                correlate1d(result[index], unit_noise_kernel(sigma), axis, result[index])
    return result


def unit_noise_kernel(sigma_px: float) -> FloatArray:
    """Return a 7-tap Gaussian whose squares sum to 1: white noise keeps its variance."""
    taps = np.exp(-0.5 * (np.arange(-3, 4) / sigma_px) ** 2)
    kernel: FloatArray = (taps / np.sqrt(np.sum(taps**2))).astype(np.float32)
    return kernel


def _round_to(electrons: FloatArray, step_e: FloatArray) -> FloatArray:
    step = np.where(step_e > 0, step_e, np.float32(1))
    return np.where(step_e > 0, np.rint(electrons / step) * step, electrons)


def _clipped_mean(mean: FloatArray, sd: FloatArray, floor: FloatArray) -> FloatArray:
    """Return E[max(X, floor)] of a normal X: ``floor + (mean - floor) Phi(t) + sd phi(t)``."""
    from scipy.special import ndtr

    which = np.isfinite(floor[:, 0, 0])
    result = mean.copy()
    if which.any():
        above, spread = mean[which] - floor[which], np.maximum(sd[which], 1e-6)
        t = above / spread
        density = np.exp(-0.5 * t * t) / np.float32(np.sqrt(2 * np.pi))
        result[which] = floor[which] + above * ndtr(t) + spread * density
    return result


def _to_u(electrons: FloatArray, read_rms: FloatArray, draw: Draw) -> FloatArray:
    """Convert as a user with slightly wrong constants would; halved where excess noise is 2."""
    excess = np.where(draw.multiplied, np.float32(2), np.float32(1))
    scaled = (electrons + draw.offset_error_e) * draw.gain_error / excess
    read = read_rms * draw.read_noise_error / excess
    return (scaled + read**2).astype(np.float32)


def _peak(rng: Rng, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    return _log_uniform(rng, *PEAK_RANGE_E, shape)


def _log_uniform(
    rng: Rng, low: float, high: float, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    return np.exp(rng.uniform(np.log(low), np.log(high), shape))


def _some(
    rng: Rng,
    shape: tuple[int, ...],
    share: float,
    values: Callable[[], npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:
    return np.where(rng.random(shape) < share, values(), 0.0)
