"""Scenes: synthetic fluorescence images without noise, for the simulated camera and for training.

Knows: how structures (``imaging.scene_shapes``), out-of-focus haze, background and the PSF
make a scene; how a scene moves and bleaches. Pure functions of a generator.
Must not know: photons, electrons, sensors, files, time other than as a number.

A scene is float32 (Y, X), >= 0, on a torus: it wraps around without a seam, so it can be moved
for ever. Sizes of structures are in pixels and do not depend on the size of the scene.

Example
-------
>>> import numpy as np
>>> scene = render_scene("tubules", (64, 64), np.random.default_rng(0), background=0.0)
>>> scene.shape, scene.dtype.name
((64, 64), 'float32')
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from livedenoise.imaging.perlin import perlin_background
from livedenoise.imaging.scene_shapes import blur, cells, granules, tubules

__all__ = [
    "SCENE_KINDS",
    "SceneKind",
    "bleaching_factor",
    "blur",
    "brightest_mean",
    "perlin_background",
    "render_scene",
    "translate",
]

FloatImage = npt.NDArray[np.float32]
SceneKind = Literal["tubules", "granules", "cells", "mixed", "flat"]
SCENE_KINDS: tuple[SceneKind, ...] = get_args(SceneKind)
BRIGHTEST_FRACTION = 0.01


def render_scene(
    kind: SceneKind,
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    psf_sigma_px: float = 1.2,
    background: float | None = None,
) -> FloatImage:
    """Render one scene.

    Density, thickness, contrast, texture, haze and (unless given) background are drawn anew
    for every scene. The PSF is a Gaussian, a good approximation of the wide-field PSF in focus
    (Zhang, Zerubia & Olivo-Marin, Applied Optics 46, 2007).

    Parameters
    ----------
    kind : str
        ``tubules``, ``granules``, ``cells``, ``mixed`` (two or three of them) or ``flat``.
    shape : tuple of int
        (Y, X) in pixels.
    rng : numpy.random.Generator
        Draws everything; the same generator state gives the same scene.
    psf_sigma_px : float
        Standard deviation of the Gaussian PSF.
    background : float, optional
        Mean background relative to the foreground; None draws it between 0 and 0.4.

    Returns
    -------
    ndarray
        float32 (Y, X), >= 0, periodic. The mean of the brightest 1 % of the foreground is 1;
        the background comes on top. ``flat`` is 1 everywhere plus the background.

    Raises
    ------
    ValueError
        If ``kind`` is none of ``SCENE_KINDS``.
    """
    if kind not in SCENE_KINDS:
        raise ValueError(f"scene kind must be one of {', '.join(SCENE_KINDS)}, got {kind!r}")
    if kind == "flat":
        foreground = np.ones(shape, np.float32)
    else:
        foreground = blur(_structure(kind, shape, rng), psf_sigma_px)
        foreground = _normalised(_with_haze(foreground, rng))
    level = _background_level(rng) if background is None else background
    if level <= 0:
        return foreground
    contrast = float(rng.uniform(0.0, 0.35))
    return foreground + np.float32(level) * perlin_background(shape, rng, contrast=contrast)


def _structure(kind: SceneKind, shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    if kind == "tubules":
        return tubules(shape, rng)
    if kind == "granules":
        return granules(shape, rng)
    if kind == "cells":
        return cells(shape, rng)
    return _mixture(shape, rng)


def _mixture(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return cells with filaments, granules or both in and between them."""
    body = _normalised(cells(shape, rng))
    inside = np.clip(body * 3.0, np.float32(rng.uniform(0.0, 0.6)), 1.0)
    scene = body * np.float32(rng.uniform(0.1, 0.6))
    chosen = [draw for draw in (tubules, granules) if rng.random() < 0.65] or [tubules]
    for draw in chosen:
        detail = draw(shape, rng)
        # Levelled as the PSF will show it: an unblurred point is far brighter than its image.
        peak = max(brightest_mean(blur(detail, 1.0)), 1e-6)
        scene = scene + detail * inside * np.float32(rng.uniform(0.5, 1.0) / peak)
    return scene


def _with_haze(foreground: FloatImage, rng: np.random.Generator) -> FloatImage:
    # Wide-field images carry light from above and below the focus: a much wider copy.
    share = float(rng.uniform(0.1, 0.6)) if rng.random() < 0.5 else 0.0
    if not share:
        return foreground
    wide = _wide_blur(foreground, float(rng.uniform(5.0, 20.0)))
    return foreground * np.float32(1.0 - share) + wide * np.float32(share)


def _wide_blur(image: FloatImage, sigma_px: float) -> FloatImage:
    # By Fourier transform: the cost does not grow with the width.
    from scipy import fft

    y_hz = fft.fftfreq(image.shape[0])[:, None]
    x_hz = fft.rfftfreq(image.shape[1])[None, :]
    exponent = -2.0 * (np.pi * sigma_px) ** 2
    transfer = np.exp(exponent * y_hz**2).astype(np.float32)
    transfer = transfer * np.exp(exponent * x_hz**2).astype(np.float32)
    blurred: FloatImage = fft.irfft2(fft.rfft2(image) * transfer, s=image.shape)
    return np.maximum(blurred, np.float32(0.0))


def _background_level(rng: np.random.Generator) -> float:
    return 0.0 if rng.random() < 0.15 else float(0.4 * rng.random() ** 1.5)


def _normalised(foreground: FloatImage) -> FloatImage:
    level = brightest_mean(foreground)
    return foreground / np.float32(level) if level > 0 else foreground


def brightest_mean(image: FloatImage) -> float:
    """Return the mean of the brightest 1 % of the pixels (at least one)."""
    count = max(1, round(image.size * BRIGHTEST_FRACTION))
    flat = np.partition(image, image.size - count, axis=None)
    return float(flat[-count:].mean(dtype=np.float64))


def translate(scene: FloatImage, dy_px: float, dx_px: float) -> FloatImage:
    """Move a scene by a fraction of a pixel or many, around the torus.

    Cubic convolution (Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1981): third-order
    accurate, four taps an axis; the mean is kept exactly up to the clipping of small negative
    lobes at 0.

    Parameters
    ----------
    scene : ndarray
        float32 (Y, X).
    dy_px, dx_px : float
        Shift towards larger y and x.

    Returns
    -------
    ndarray
        float32 (Y, X): ``out[y, x] = scene[y - dy_px, x - dx_px]``.
    """
    whole_y, whole_x = int(np.floor(dy_px)), int(np.floor(dx_px))
    moved = np.roll(scene, (whole_y, whole_x), (0, 1)) if whole_y or whole_x else scene
    for axis, fraction in ((0, dy_px - whole_y), (1, dx_px - whole_x)):
        moved = _shift_axis(moved, axis, fraction)
    return np.maximum(moved, np.float32(0.0)) if moved is not scene else scene.copy()


def _shift_axis(image: FloatImage, axis: int, fraction: float) -> FloatImage:
    if fraction == 0.0:
        return image
    from scipy.ndimage import correlate1d

    # The sample wanted lies ``fraction`` before pixel n: taps at n-2, n-1, n, n+1.
    distances = np.array([2.0 - fraction, 1.0 - fraction, fraction, 1.0 + fraction])
    taps = np.append(_keys(distances), 0.0)
    shifted: FloatImage = correlate1d(image, taps, axis=axis, mode="wrap")
    return shifted


def _keys(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1.0
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4.0 * distance + 2.0
    return np.where(distance <= 1.0, near, far)


def bleaching_factor(rate_per_s: float, elapsed_s: float) -> float:
    """Return ``exp(-rate * elapsed)``: single-exponential photobleaching."""
    return float(np.exp(-rate_per_s * elapsed_s))
