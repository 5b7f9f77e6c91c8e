"""The light in front of a simulated camera: photon flux at every pixel of a region, at any time.

Knows: the scene section of the configuration, user images as scenes, motion and bleaching.
Must not know: noise, counts, frames, clocks.

The flux of a pixel is ``background * texture + (photons - background) * scene`` (photons per
second), so that the brightest 1 % of the pixels have about ``photons_per_s``. A ``flat`` scene
is ``photons_per_s`` everywhere, without background. A scene is rendered at most ``MAX_TILE_PX``
wide and high; a larger sensor sees it repeated. Motion blur within an exposure is not modelled.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from livedenoise.core.camera_config import SceneConfig
from livedenoise.core.errors import CameraError
from livedenoise.imaging.scenes import (
    bleaching_factor,
    perlin_background,
    render_scene,
    translate,
)

FloatImage = npt.NDArray[np.float32]
Roi = tuple[int, int, int, int]

MAX_TILE_PX = 2048
_SEED_TAG = 0x5CE4E
_MARGIN_PX = 2
"""Pixels around a region that cubic interpolation reads."""


class SceneField:
    """Photon flux of one scene in front of one sensor.

    Parameters
    ----------
    scene : SceneConfig
        What is there.
    sensor : tuple of int
        (Y, X) of the sensor in pixels.
    seed : int
        Seed of the scene: the same seed gives the same scene, whatever the region.

    Raises
    ------
    CameraError
        If a scene file cannot be used.
    """

    def __init__(self, scene: SceneConfig, sensor: tuple[int, int], seed: int) -> None:
        self._scene = scene
        entropy = np.random.SeedSequence([seed % 2**64, _SEED_TAG])
        rng = np.random.Generator(np.random.SFC64(entropy))
        self._tile = _render_tile(scene, sensor, rng)
        self._direction = float(rng.uniform(0.0, 2.0 * np.pi))

    def flux(self, roi: Roi, shift_px: tuple[float, float], elapsed_s: float) -> FloatImage:
        """Return photons per second and sensor pixel.

        Parameters
        ----------
        roi : tuple of int
            (x, y, width, height) in sensor pixels.
        shift_px : tuple of float
            How far the scene has moved, (Y, X).
        elapsed_s : float
            Time since the start: the scene has bleached for so long.

        Returns
        -------
        ndarray
            float32 (height, width), a new array.
        """
        x, y, width, height = roi
        whole = np.floor(shift_px).astype(int)
        rows, columns = self._tile.shape
        row = np.arange(y - _MARGIN_PX, y + height + _MARGIN_PX) - whole[0]
        column = np.arange(x - _MARGIN_PX, x + width + _MARGIN_PX) - whole[1]
        window = self._tile[row % rows][:, column % columns]
        window = translate(window, shift_px[0] - whole[0], shift_px[1] - whole[1])
        inner = np.ascontiguousarray(window[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX])
        if self._scene.bleaching_per_s:
            inner *= np.float32(bleaching_factor(self._scene.bleaching_per_s, elapsed_s))
        return inner

    def loop_shift_px(self, elapsed_s: float, loop_s: float) -> tuple[float, float]:
        """Return the shift (Y, X) on a circle that closes after ``loop_s``.

        The speed along it is ``motion_px_per_s``, so a pool of frames moves without a jump.
        """
        radius_px = self._scene.motion_px_per_s * loop_s / (2.0 * np.pi)
        angle = 2.0 * np.pi * elapsed_s / loop_s + self._direction
        start = self._direction
        return (
            radius_px * float(np.sin(angle) - np.sin(start)),
            radius_px * float(np.cos(angle) - np.cos(start)),
        )

    def drift_shift_px(self, elapsed_s: float) -> tuple[float, float]:
        """Return the shift (Y, X) along a straight line at ``motion_px_per_s``."""
        way_px = self._scene.motion_px_per_s * elapsed_s
        return (
            way_px * float(np.sin(self._direction)),
            way_px * float(np.cos(self._direction)),
        )


def _render_tile(
    scene: SceneConfig, sensor: tuple[int, int], rng: np.random.Generator
) -> FloatImage:
    shape = (min(sensor[0], MAX_TILE_PX), min(sensor[1], MAX_TILE_PX))
    if scene.kind == "flat":
        return np.full(shape, scene.photons_per_s, np.float32)
    above = np.float32(max(scene.photons_per_s - scene.background_photons_per_s, 0.0))
    if scene.kind == "file":
        flux = above * _file_scene(scene.file, shape)
        flux += np.float32(scene.background_photons_per_s)
        return flux
    foreground = render_scene(
        scene.kind, shape, rng, psf_sigma_px=scene.psf_sigma_px, background=0.0
    )
    texture = perlin_background(shape, rng)
    flux = above * foreground
    flux += np.float32(scene.background_photons_per_s) * texture
    return flux


def _file_scene(path: Path | None, shape: tuple[int, int]) -> FloatImage:
    """Return a user's image as a scene: its 0.1 percentile is 0, its 99th percentile 1."""
    if path is None:
        raise CameraError('scene kind "file" needs file = "..."', "name a TIFF file")
    image = _read_image(path)
    low, high = np.percentile(image, (0.1, 99.0))
    if not high > low:
        raise CameraError(
            f"{path}: cannot be a scene: its 0.1 and 99 percentiles are both {low:g}",
            "choose an image with some contrast",
        )
    scene = np.clip((image - np.float32(low)) / np.float32(high - low), 0.0, None)
    return _fitted(scene, shape)


def _fitted(image: FloatImage, shape: tuple[int, int]) -> FloatImage:
    # The middle of a larger image; a smaller one is mirrored outwards, so that no seam shows.
    top = max(0, (image.shape[0] - shape[0]) // 2)
    left = max(0, (image.shape[1] - shape[1]) // 2)
    image = image[top : top + shape[0], left : left + shape[1]]
    missing = [(0, want - have) for want, have in zip(shape, image.shape, strict=True)]
    return np.pad(image, missing, mode="symmetric")


def _read_image(path: Path) -> FloatImage:
    import tifffile

    try:
        image = tifffile.imread(path, key=0)
    except (OSError, tifffile.TiffFileError, ValueError, IndexError) as error:
        raise CameraError(
            f"{path}: cannot be read as a scene: {error}", "name a TIFF file that exists"
        ) from error
    if image.ndim != 2 or image.dtype.kind not in "uif" or not np.isfinite(image).all():
        raise CameraError(
            f"{path}: the first page is {image.dtype} {image.shape}, a scene needs finite "
            "greyscale values (Y, X)",
            "convert it to greyscale",
        )
    scene: FloatImage = image.astype(np.float32)
    return scene
