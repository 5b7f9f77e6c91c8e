"""Periodic Perlin noise: slow texture for backgrounds and cells.

Knows: gradient noise on a torus (K. Perlin, "An image synthesizer", SIGGRAPH 1985, with the
quintic fade of "Improving noise", SIGGRAPH 2002), written as two matrix products, which is
what makes it fast enough for a 4 megapixel background.
Must not know: scenes, sensors, units.

Example
-------
>>> import numpy as np
>>> perlin_texture((32, 48), np.random.default_rng(0), cell_px=16).shape
(32, 48)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatImage = npt.NDArray[np.float32]


def perlin_noise(
    shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator
) -> FloatImage:
    """Return one octave of periodic gradient noise.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) in pixels.
    cells : tuple of int
        Lattice cells along (Y, X); the lattice wraps around.
    rng : numpy.random.Generator
        Draws the gradients.

    Returns
    -------
    ndarray
        float32 (Y, X), mean near 0, within about [-0.71, 0.71].
    """
    angle = rng.uniform(0.0, 2.0 * np.pi, cells)
    gradient_y = np.sin(angle).astype(np.float32)
    gradient_x = np.cos(angle).astype(np.float32)
    weight_y, slope_y = _axis_matrices(shape[0], cells[0])
    weight_x, slope_x = _axis_matrices(shape[1], cells[1])
    noise = (slope_y @ gradient_y) @ weight_x.T + (weight_y @ gradient_x) @ slope_x.T
    return noise.astype(np.float32, copy=False)


def _axis_matrices(pixels: int, cells: int) -> tuple[FloatImage, FloatImage]:
    # Noise at a pixel is the fade-weighted sum over the corners of gradient . distance. Weight and
    # distance are products of one factor per axis, so the sum is a matrix product per component.
    position = (np.arange(pixels) + 0.5) * cells / pixels
    cell = np.floor(position).astype(np.intp)
    distance = position - cell
    fade = distance**3 * (distance * (6.0 * distance - 15.0) + 10.0)
    weight = np.zeros((pixels, cells), np.float32)
    slope = np.zeros((pixels, cells), np.float32)
    rows = np.arange(pixels)
    corners = ((cell % cells, 1.0 - fade, distance), ((cell + 1) % cells, fade, distance - 1.0))
    for corner, share, offset in corners:
        weight[rows, corner] += share
        slope[rows, corner] += share * offset
    return weight, slope


def perlin_texture(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    cell_px: float,
    octaves: int = 3,
    persistence: float = 0.5,
) -> FloatImage:
    """Return fractal Perlin noise of zero mean and unit standard deviation.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) in pixels.
    rng : numpy.random.Generator
        Draws the gradients.
    cell_px : float
        Size of the coarsest lattice cell; each octave halves it, down to 4 pixels.
    octaves : int
        Number of octaves.
    persistence : float
        Amplitude of each octave relative to the one before.

    Returns
    -------
    ndarray
        float32 (Y, X), periodic in both axes.
    """
    texture = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size_px = cell_px / 2**octave
        if octave and size_px < 4.0:
            break
        cells = (max(1, round(shape[0] / size_px)), max(1, round(shape[1] / size_px)))
        texture += np.float32(persistence**octave) * perlin_noise(shape, cells, rng)
    texture -= texture.mean(dtype=np.float64)
    spread = float(texture.std(dtype=np.float64))
    return texture / np.float32(spread) if spread > 0 else texture


def perlin_background(
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    cell_px: float | None = None,
    contrast: float = 0.2,
) -> FloatImage:
    """Return an uneven background of mean 1.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) in pixels.
    rng : numpy.random.Generator
        Draws the texture.
    cell_px : float, optional
        Size of its largest patches; default between a sixth and a half of the shorter side.
    contrast : float
        Standard deviation relative to the mean, before values below 5 % of it are cut.

    Returns
    -------
    ndarray
        float32 (Y, X), positive, mean 1, periodic in both axes.
    """
    if cell_px is None:
        cell_px = max(4.0, min(shape) * float(rng.uniform(1 / 6, 1 / 2)))
    texture = perlin_texture(shape, rng, cell_px=cell_px, octaves=3)
    background = np.maximum(1.0 + np.float32(contrast) * texture, np.float32(0.05))
    scaled: FloatImage = background / np.float32(background.mean(dtype=np.float64))
    return scaled
