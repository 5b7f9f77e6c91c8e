"""What is drawn into a scene: filaments, granules, cells. All on a torus, so that motion wraps.

Knows: how each structure is drawn, with its density, thickness and contrast drawn at random.
Must not know: normalisation, background, PSF (``imaging.scenes``), sensors.

Every function takes ``shape`` (Y, X) in pixels and a generator, and returns float32 (Y, X),
>= 0, in arbitrary units. Sizes are in pixels and do not depend on ``shape``: a larger field
shows more structures, not larger ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livedenoise.imaging.perlin import perlin_texture

FloatImage = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_STEP_PX = 0.5


def splat(shape: tuple[int, int], y: Doubles, x: Doubles, weight: Doubles) -> FloatImage:
    """Deposit weighted points with bilinear shares into a (Y, X) image that wraps around."""
    rows, columns = shape
    top, left = np.floor(y), np.floor(x)
    share_y, share_x = y - top, x - left
    row = top.astype(np.intp) % rows
    column = left.astype(np.intp) % columns
    below, right = (row + 1) % rows, (column + 1) % columns
    corners = ((row, 1 - share_y), (below, share_y))
    sides = ((column, 1 - share_x), (right, share_x))
    index = np.concatenate([r * columns + c for r, _ in corners for c, _ in sides])
    shares = np.concatenate([sy * sx * weight for _, sy in corners for _, sx in sides])
    flat = np.bincount(index, shares, minlength=rows * columns)
    return flat.reshape(shape).astype(np.float32)


def blur(image: FloatImage, sigma_px: float) -> FloatImage:
    """Return ``image`` convolved with a Gaussian on the torus; its sum is kept."""
    if sigma_px <= 0:
        return image
    from scipy.ndimage import gaussian_filter

    blurred: FloatImage = gaussian_filter(image, sigma_px, mode="wrap", truncate=3.5)
    return blurred


def tubules(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return filaments: persistent random walks of several thicknesses and brightnesses.

    The direction changes by an independent normal angle each half pixel, which is a worm-like
    chain with a persistence length of ``2 * step / sd**2`` (here some 40 to 2000 px).
    """
    density = 10.0 ** rng.uniform(-2.1, -0.8)
    total_px = density * shape[0] * shape[1]
    thick_share = rng.uniform(0.2, 0.8) if rng.random() < 0.5 else 0.0
    image = _filaments(shape, rng, total_px * (1.0 - thick_share))
    if thick_share:
        thick = _filaments(shape, rng, total_px * thick_share)
        image = image + blur(thick, float(rng.uniform(0.8, 2.2)))
    return image


def _filaments(shape: tuple[int, int], rng: np.random.Generator, total_px: float) -> FloatImage:
    length_px = float(rng.uniform(50.0, 350.0))
    count = max(1, round(total_px / length_px))
    steps = int(length_px / _STEP_PX)
    bend = 10.0 ** rng.uniform(-1.65, -0.8)
    start_y, start_x, start_angle = _starts(shape, rng, count)
    angle = start_angle[:, None] + np.cumsum(rng.normal(0.0, bend, (count, steps)), axis=1)
    y = start_y[:, None] + np.cumsum(_STEP_PX * np.sin(angle), axis=1)
    x = start_x[:, None] + np.cumsum(_STEP_PX * np.cos(angle), axis=1)
    weight = _filament_weights(rng, count, steps)
    kept = weight.ravel() > 0
    return splat(shape, y.ravel()[kept], x.ravel()[kept], weight.ravel()[kept])


def _filament_weights(rng: np.random.Generator, count: int, steps: int) -> Doubles:
    # Each filament has its own brightness, a slow modulation along its length, and its own end.
    brightness = rng.lognormal(0.0, rng.uniform(0.1, 0.7), (count, 1))
    wave_px = rng.uniform(8.0, 60.0, (count, 1))
    phase = rng.uniform(0.0, 2.0 * np.pi, (count, 1))
    along_px = np.arange(steps)[None, :] * _STEP_PX
    depth = rng.uniform(0.0, 0.5)
    modulation = 1.0 + depth * np.sin(2.0 * np.pi * along_px / wave_px + phase)
    end_px = rng.uniform(0.3, 1.0, (count, 1)) * steps * _STEP_PX
    weights: Doubles = brightness * modulation * (along_px <= end_px)
    return weights


def _starts(
    shape: tuple[int, int], rng: np.random.Generator, count: int
) -> tuple[Doubles, Doubles, Doubles]:
    angle = rng.uniform(0.0, 2.0 * np.pi, count)
    if rng.random() < 0.6:
        return rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count), angle
    # Asters: filaments grow out of a few organising centres.
    centres = max(1, round(shape[0] * shape[1] / rng.uniform(2e4, 1e5)))
    chosen = rng.integers(0, centres, count)
    radius = rng.rayleigh(rng.uniform(3.0, 25.0), count)
    y = rng.uniform(0, shape[0], centres)[chosen] + radius * np.sin(angle)
    x = rng.uniform(0, shape[1], centres)[chosen] + radius * np.cos(angle)
    return y, x, angle


def granules(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return point-like and small round granules, spread evenly, in clusters or in patches."""
    density = 10.0 ** rng.uniform(-3.7, -1.9)
    image = _points(shape, rng, density)
    if rng.random() < 0.6:
        large = _points(shape, rng, density * rng.uniform(0.05, 0.5))
        sigma_px = float(rng.uniform(0.8, 3.0))
        image = image + blur(large, sigma_px) * np.float32(2.0 * sigma_px**2)
    if rng.random() < 0.4:
        patches = perlin_texture(shape, rng, cell_px=float(rng.uniform(40, 120)), octaves=2)
        image = image * np.clip(0.5 + patches, 0.0, 1.0)
    return image


def _points(shape: tuple[int, int], rng: np.random.Generator, density: float) -> FloatImage:
    count = max(3, round(density * shape[0] * shape[1]))
    y, x = rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count)
    if rng.random() < 0.4:
        centres = max(1, count // int(rng.integers(5, 40)))
        chosen = rng.integers(0, centres, count)
        spread_px = rng.uniform(4.0, 20.0)
        y = y[:centres][chosen] + rng.normal(0.0, spread_px, count)
        x = x[:centres][chosen] + rng.normal(0.0, spread_px, count)
    brightness = rng.lognormal(0.0, rng.uniform(0.2, 0.9), count)
    return splat(shape, y, x, brightness)


def cells(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    """Return textured, irregular elliptical cells with nuclei, which may touch or overlap."""
    radius_px = float(rng.uniform(12.0, 55.0))
    count = _cell_count(shape, rng, radius_px)
    texture = _cell_texture(shape, rng)
    # Style of the label, shared by all cells of a field: nucleus bright, dark or as the rest,
    # membrane stained or not.
    nucleus = float(rng.choice([-0.7, -0.4, 0.0, 0.8, 2.0]))
    membrane = float(rng.choice([0.0, 0.0, 0.7, 2.0]))
    image = np.zeros(shape, np.float32)
    for _ in range(count):
        radius = radius_px * float(rng.uniform(0.65, 1.3))
        patch = _one_cell(rng, radius, nucleus, membrane)
        _paste(image, patch, texture, rng)
    return image


def _cell_count(shape: tuple[int, int], rng: np.random.Generator, radius_px: float) -> int:
    coverage = float(rng.uniform(0.1, 0.7))
    return max(1, round(coverage * shape[0] * shape[1] / (np.pi * radius_px**2)))


def _cell_texture(shape: tuple[int, int], rng: np.random.Generator) -> FloatImage:
    contrast = np.float32(rng.uniform(0.05, 0.4))
    cell_px = float(rng.uniform(6.0, 30.0))
    texture = perlin_texture(shape, rng, cell_px=cell_px, octaves=3, persistence=0.7)
    shade: FloatImage = np.maximum(1.0 + contrast * texture, np.float32(0.1))
    return shade


def _one_cell(
    rng: np.random.Generator, radius_px: float, nucleus: float, membrane: float
) -> FloatImage:
    half = int(np.ceil(radius_px * 1.7)) + 2
    axis = np.arange(-half, half + 1, dtype=np.float32)
    y, x = axis[:, None], axis[None, :]
    ratio, tilt = float(rng.uniform(0.6, 1.0)), float(rng.uniform(0.0, np.pi))
    along = x * np.float32(np.cos(tilt)) + y * np.float32(np.sin(tilt))
    across = y * np.float32(np.cos(tilt)) - x * np.float32(np.sin(tilt))
    distance = np.hypot(along, across / np.float32(ratio))
    polar = np.arctan2(across, along)
    edge = np.full_like(distance, radius_px)
    for order in (2, 3, 5):
        wobble = rng.uniform(0.0, 0.16 / order) * radius_px
        edge += np.float32(wobble) * np.cos(order * polar + np.float32(rng.uniform(0, 6.3)))
    body = _soft_step(edge - distance, 1.5)
    # A rounded cell is thicker in the middle than at its edge.
    dome = np.sqrt(np.clip(1.0 - (distance / (edge * 1.05)) ** 2, 0.0, 1.0))
    patch = body * (0.45 + 0.55 * dome)
    if membrane:
        patch = patch + np.float32(membrane) * np.exp(-0.5 * ((distance - edge) / 1.3) ** 2)
    if nucleus:
        patch = patch * (1.0 + np.float32(nucleus) * _nucleus(rng, along, across, radius_px))
    brightness = np.float32(rng.lognormal(0.0, 0.35))
    cell: FloatImage = (patch * brightness).astype(np.float32)
    return cell


def _nucleus(
    rng: np.random.Generator, along: FloatImage, across: FloatImage, radius_px: float
) -> FloatImage:
    radius = radius_px * float(rng.uniform(0.3, 0.5))
    shift_along, shift_across = rng.uniform(-0.2, 0.2, 2).astype(np.float32) * radius_px
    ratio = np.float32(rng.uniform(0.65, 1.0))
    distance = np.hypot(along - shift_along, (across - shift_across) / ratio)
    shape = _soft_step(radius - distance, 1.2)
    for _ in range(int(rng.integers(0, 4))):
        spot_along, spot_across = rng.uniform(-0.5, 0.5, 2).astype(np.float32) * radius
        spot = np.hypot(along - shift_along - spot_along, across - shift_across - spot_across)
        shape = shape * (1.0 - np.float32(0.5) * _soft_step(radius * 0.22 - spot, 1.0))
    return shape


def _soft_step(inside_px: FloatImage, width_px: float) -> FloatImage:
    step: FloatImage = np.clip(inside_px / np.float32(2.0 * width_px) + 0.5, 0.0, 1.0)
    return step


def _paste(
    image: FloatImage, patch: FloatImage, texture: FloatImage, rng: np.random.Generator
) -> None:
    rows, columns = image.shape
    # Of a cell larger than the whole field, the middle.
    first, second = (max(0, (patch.shape[axis] - image.shape[axis]) // 2) for axis in (0, 1))
    patch = patch[first : first + rows, second : second + columns]
    top, left = int(rng.integers(0, rows)), int(rng.integers(0, columns))
    bottom, right = top + patch.shape[0], left + patch.shape[1]
    if bottom <= rows and right <= columns:
        window = image[top:bottom, left:right]
        _lay_over(window, patch * texture[top:bottom, left:right])
        return
    wrapped = np.ix_(np.arange(top, bottom) % rows, np.arange(left, right) % columns)
    image[wrapped] = _lay_over(image[wrapped], patch * texture[wrapped])


def _lay_over(behind: FloatImage, cell: FloatImage) -> FloatImage:
    # The brighter cell lies in front: cells overlap without adding up to a bright lens.
    return np.maximum(behind, cell, out=behind)
