"""The simulated specimen: a plane of fluorescence without end, seen at any place and focus.

Knows: how the scene of a simulated camera goes on beyond one field, at a fraction of a pixel, and
how defocus widens it. Must not know: stage, light, bleaching, time, noise.

The plane is made of square tiles, rendered when they are first looked at, each from a seed of its
own: no place looks like another one (a scene file is mirrored outwards instead and repeats). A
tile wraps around on itself, so it goes on beyond its border, and neighbours are blended over
``2 * _SEAM_PX`` pixels there: no edge shows.

Coordinates are specimen pixels: a sensor pixel's size in the sample, x to the right, y downwards
as rows are, (0, 0) in the middle of a tile or
of the picture.

Example
-------
>>> from livedenoise.core.camera_config import SceneConfig
>>> specimen = Specimen(SceneConfig(kind="flat", photons_per_s=50.0), (8, 16), seed=1)
>>> specimen.view((0.25, -3.5), (8, 16), blur_sigma_px=0.0).mean().item()
50.0
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt

from livedenoise.acquire.scene_field import SceneField
from livedenoise.core.camera_config import SceneConfig
from livedenoise.imaging.scenes import translate

FloatImage = npt.NDArray[np.float32]

MAX_BLUR_PX = 64.0
"""Farther out of focus the picture stays as it is at this width."""

_MIN_TILE_PX = 256
_MAX_TILE_PX = 1024
_SEAM_PX = 16
_TAPS_PX = 2
_TRUNCATE = 4.0
_SAME_PX = 0.01
"""Views nearer than this to the last one are that one: no registration tells them apart."""


class Specimen:
    """Photon flux of a specimen at full light, unbleached.

    Parameters
    ----------
    scene : SceneConfig
        What is there; motion and bleaching over time are not used.
    sensor : tuple of int
        (Y, X) of the sensor in pixels; sets the size of the tiles.
    seed : int
        The same seed gives the same specimen, whatever the order of looking.
    """

    def __init__(self, scene: SceneConfig, sensor: tuple[int, int], seed: int) -> None:
        self._scene = scene
        self._seed = seed
        self._side_px = min(max(2 * max(sensor), _MIN_TILE_PX), _MAX_TILE_PX)
        self._middle_px = self._side_px // 2
        if scene.kind == "file":
            self._side_px, self._middle_px = 2 * _MAX_TILE_PX, _MAX_TILE_PX // 2
        across = (max(sensor) + 2 * _SEAM_PX) // self._side_px + 2
        # All that one view can need, and a few that the next one may need again.
        self._max_tiles = across**2 + 4
        self._tiles: OrderedDict[tuple[int, int], FloatImage] = OrderedDict()
        self._last: tuple[tuple[float, float], tuple[int, int], float] | None = None
        self._view = np.empty((0, 0), np.float32)

    def view(
        self, corner_px: tuple[float, float], shape: tuple[int, int], blur_sigma_px: float
    ) -> FloatImage:
        """Return photons per second and sensor pixel of one field, at full light.

        Parameters
        ----------
        corner_px : tuple of float
            (Y, X) of the first pixel in the specimen.
        shape : tuple of int
            (Y, X) of the field.
        blur_sigma_px : float
            Standard deviation of the Gaussian that defocus adds to the scene's own.

        Returns
        -------
        ndarray
            float32 ``shape``, not to be written to: ``out[r, c]`` is the flux at
            ``(corner_px[0] + r, corner_px[1] + c)``.

        Raises
        ------
        CameraError
            If a scene file cannot be used.
        """
        if not self._is_last(corner_px, shape, blur_sigma_px):
            self._view = self._rendered(corner_px, shape, min(blur_sigma_px, MAX_BLUR_PX))
            self._view.flags.writeable = False
            self._last = (corner_px, shape, blur_sigma_px)
        return self._view

    def _is_last(
        self, corner_px: tuple[float, float], shape: tuple[int, int], blur_sigma_px: float
    ) -> bool:
        if self._last is None or self._last[1] != shape:
            return False
        far = max(abs(a - b) for a, b in zip(corner_px, self._last[0], strict=True))
        return max(far, abs(blur_sigma_px - self._last[2])) <= _SAME_PX

    def _rendered(
        self, corner_px: tuple[float, float], shape: tuple[int, int], sigma_px: float
    ) -> FloatImage:
        if self._scene.kind == "flat":
            return np.full(shape, self._scene.photons_per_s, np.float32)
        margin = ceil(_TRUNCATE * sigma_px) + _TAPS_PX
        whole = (ceil(corner_px[0]), ceil(corner_px[1]))
        window = self._window(
            (whole[0] - margin, whole[1] - margin), (shape[0] + 2 * margin, shape[1] + 2 * margin)
        )
        window = translate(window, whole[0] - corner_px[0], whole[1] - corner_px[1])
        if sigma_px > 0:
            from scipy.ndimage import gaussian_filter

            window = gaussian_filter(window, sigma_px, mode="nearest", truncate=_TRUNCATE)
        return np.ascontiguousarray(window[margin:-margin, margin:-margin])

    def _window(self, corner: tuple[int, int], shape: tuple[int, int]) -> FloatImage:
        """Return whole pixels of the plane, tiles blended at their borders."""
        window = np.zeros(shape, np.float32)
        shares = [self._shares(corner[axis], shape[axis]) for axis in (0, 1)]
        for row, (rows, row_share) in shares[0].items():
            for column, (columns, column_share) in shares[1].items():
                tile = self._tile(row, column)
                part = tile[rows % tile.shape[0]][:, columns % tile.shape[1]]
                window += row_share[:, None] * column_share[None, :] * part
        return window

    def _shares(
        self, start: int, count: int
    ) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        """Return, for each tile along an axis, its pixels in the window and how much it counts."""
        side = self._side_px
        pixels = np.arange(start, start + count, dtype=np.int64) + self._middle_px
        shares = {}
        for tile in range((pixels[0] - _SEAM_PX) // side, (pixels[-1] + _SEAM_PX) // side + 1):
            inside = pixels + 0.5 - tile * side
            nearest = np.minimum(inside, side - inside)
            share = np.clip(nearest / (2.0 * _SEAM_PX) + 0.5, 0.0, 1.0).astype(np.float32)
            if share.any():
                shares[int(tile)] = (pixels - tile * side, share)
        return shares

    def _tile(self, row: int, column: int) -> FloatImage:
        key = (0, 0) if self._scene.kind == "file" else (row, column)
        if key in self._tiles:
            self._tiles.move_to_end(key)
            return self._tiles[key]
        if len(self._tiles) >= self._max_tiles:
            self._tiles.popitem(last=False)
        self._tiles[key] = self._rendered_tile(*key)
        return self._tiles[key]

    def _rendered_tile(self, row: int, column: int) -> FloatImage:
        is_file = self._scene.kind == "file"
        side = _MAX_TILE_PX if is_file else self._side_px
        entropy = (self._seed % 2**64, row % 2**64, column % 2**64)
        tile = _render(self._scene, side, entropy)
        if is_file:
            # Mirrored outwards a picture wraps around without a seam.
            return np.pad(tile, ((0, side), (0, side)), mode="symmetric")
        return tile


@lru_cache(maxsize=4)
def _render(scene: SceneConfig, side: int, entropy: tuple[int, ...]) -> FloatImage:
    """Return one tile, read-only. Kept: whoever opens the same specimen again waits for it once."""
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
    field = SceneField(scene, (side, side), seed)
    tile = field.flux((0, 0, side, side), (0.0, 0.0), 0.0)
    tile.flags.writeable = False
    return tile
