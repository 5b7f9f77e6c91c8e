"""Recorded frames through an engine, three in flight, whole or in tiles.

Knows: engines, and how a frame is cut into tiles and put together. Must not know: files, where
constants come from.

Tiles give the whole frame's result within rounding: they overlap by the receptive field and start
at multiples of the network's stride (``imaging.tiling``). They come back as float32 counts; the
put-together frame is rounded, clipped and counted once, as the graph does for whole frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import lcm
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import numpy as np

from livedenoise.core.engine import Engine, EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import ConfigError, DenoiseError
from livedenoise.core.frame import Frame
from livedenoise.engines.package import ModelPackage
from livedenoise.engines.select import choose_engine
from livedenoise.imaging.tiling import Tile, pad_to_stride, plan_tiles
from livedenoise.imaging.transforms import CountsTransform, FloatImage, quantise

AUTO_TILE_PIXELS = 1 << 24
"""Larger frames are tiled unless told otherwise: engines take some 80 to 220 bytes a pixel."""

AUTO_TILE_PX = 2048
_POLL_S = 0.5


class Denoised(NamedTuple):
    """One finished frame: its number, its pixels, how many of them were clipped."""

    seq: int
    pixels: Frame
    clipped: int


class Denoiser:
    """An engine that follows from recording to recording.

    Parameters
    ----------
    engine : str
        ``"auto"`` or an engine's name.
    package : ModelPackage or None
        None for engines without a model.
    tile : int or None
        Edge of the tiles in pixels; None tiles only frames of more than ``AUTO_TILE_PIXELS``.
    """

    def __init__(self, engine: str, package: ModelPackage | None, tile: int | None) -> None:
        self._name = engine
        self._package = package
        self._tile_px = tile
        self._engine: Engine | None = None
        self._request: ServeRequest | None = None
        self._served: ServeRequest | None = None
        self._tiles: tuple[Tile, ...] = ()
        self._info: EngineInfo | None = None

    def open(self, request: ServeRequest) -> EngineInfo:
        """Get ready for frames of a request; what is open already and fits is kept.

        Raises
        ------
        ConfigError
            If no engine can serve it, or tiles would be too small.
        DenoiseError
            If the engine cannot be opened.
        """
        self._tiles = self._plan(request)
        served = self._tile_request(request) if self._tiles else request
        self._request = request
        if self._info is not None and served == self._served and request.maps is None:
            return self._info
        self.close()
        engine = choose_engine(self._name, served)
        self._info = engine.open(served)
        self._engine, self._served = engine, served
        return self._info

    @property
    def tiled(self) -> bool:
        """Return whether frames are cut into tiles."""
        return bool(self._tiles)

    def run(self, frames: Iterable[Frame], path: Path) -> Iterator[Denoised]:
        """Yield the denoised frames in order.

        Parameters
        ----------
        frames : iterable of ndarray (Y, X)
            Frames of the request; read ahead by up to three.
        path : Path
            The recording, for messages.

        Raises
        ------
        DenoiseError
            If the engine fails on a frame.
        """
        if self._engine is None or self._request is None:
            raise DenoiseError(f"{path}: the engine is not open")
        if self._tiles:
            return self._run_tiled(frames, path, self._request)
        return self._run_whole(frames, path, self._request)

    def close(self) -> None:
        """Close the engine. Idempotent."""
        if self._engine is not None:
            self._engine.close()
        self._engine = self._info = self._served = None

    def _run_whole(
        self, frames: Iterable[Frame], path: Path, request: ServeRequest
    ) -> Iterator[Denoised]:
        waiting: deque[Frame] = deque()
        for index, pixels in enumerate(frames):
            if len(waiting) == self._in_flight:
                yield self._next(waiting, path)
            out: Frame = np.empty(request.shape, dtype=np.dtype(request.out_dtype))
            self._submit(index, pixels, out)
            waiting.append(out)
        while waiting:
            yield self._next(waiting, path)

    def _run_tiled(
        self, frames: Iterable[Frame], path: Path, request: ServeRequest
    ) -> Iterator[Denoised]:
        for index, pixels in enumerate(frames):
            result = self._put_together(index, _without_maps(pixels, request), path, request)
            out, clipped = quantise(result, request.out_dtype, request.bit_depth)
            yield Denoised(index, out, clipped)

    def _put_together(
        self, index: int, pixels: Frame, path: Path, request: ServeRequest
    ) -> FloatImage:
        result: FloatImage = np.empty(request.shape, dtype=np.float32)
        waiting: deque[tuple[Tile, FloatImage]] = deque()
        padded = cast("Frame", pad_to_stride(pixels, self._stride))
        for tile in self._tiles:
            if len(waiting) == self._in_flight:
                self._place(waiting.popleft(), index, path, result)
            out: FloatImage = np.empty(_shape_of(tile), dtype=np.float32)
            self._submit(index, padded[tile.source].copy(), out)
            waiting.append((tile, out))
        while waiting:
            self._place(waiting.popleft(), index, path, result)
        return result

    def _place(
        self, finished: tuple[Tile, FloatImage], index: int, path: Path, result: FloatImage
    ) -> None:
        self._wait(index, path)
        tile, out = finished
        result[tile.place] = out[tile.keep]

    def _next(self, waiting: deque[Frame], path: Path) -> Denoised:
        index, clipped = self._wait(None, path)
        return Denoised(index, waiting.popleft(), clipped)

    def _submit(self, index: int, pixels: Frame, out: Frame) -> None:
        if self._engine is None:
            raise DenoiseError("the engine is not open")
        self._engine.submit(FrameView(seq=index, pixels=pixels), out, reset=index == 0)

    def _wait(self, expected: int | None, path: Path) -> tuple[int, int]:
        """Return number and clipped pixels of the oldest frame in flight."""
        if self._engine is None:
            raise DenoiseError("the engine is not open")
        while (done := self._engine.poll(_POLL_S)) is None:
            continue
        if done.error:
            raise DenoiseError(f"{path}: frame {done.seq}: {done.error}")
        if expected is not None and done.seq != expected:
            raise DenoiseError(f"{path}: the engine returned {done.seq}, {expected} was next")
        return done.seq, done.clipped

    @property
    def _in_flight(self) -> int:
        return 1 if self._info is None else self._info.in_flight

    def _plan(self, request: ServeRequest) -> tuple[Tile, ...]:
        rows, columns = request.shape
        edge = self._tile_px
        if edge is None and rows * columns > AUTO_TILE_PIXELS:
            edge = AUTO_TILE_PX
        if edge is None or self._package is None or edge >= max(rows, columns):
            return ()
        # Tiles end with the padded frame, so their padding is that of the whole frame's graph.
        stride = self._stride
        try:
            tiles = plan_tiles(
                request.shape,
                tile=edge // stride * stride,
                halo=self._package.receptive_field_px,
                stride=stride,
            )
        except ValueError as error:
            raise ConfigError(f"tiles of {edge} px: {error}", "use larger tiles") from error
        return tuple(tiles)

    @property
    def _stride(self) -> int:
        """Return a number of pixels that is whole strides along both axes."""
        return 1 if self._package is None else lcm(*self._package.stride)

    def _tile_request(self, request: ServeRequest) -> ServeRequest:
        return msgspec.structs.replace(
            request,
            shape=_shape_of(self._tiles[0]),
            dtype=request.dtype if request.maps is None else "<f4",
            out_dtype="<f4",
            maps=None,
        )


def _shape_of(tile: Tile) -> tuple[int, int]:
    rows, columns = tile.source
    return (rows.stop - rows.start, columns.stop - columns.start)


def _without_maps(pixels: Frame, request: ServeRequest) -> Frame:
    """Return what the average pixel would have counted, where maps say how pixels differ.

    An engine's maps belong to one place of the sensor, a tile's engine serves all places. The
    affine of the average pixel takes these counts to the very same network units.
    """
    if request.maps is None:
        return pixels
    transform = CountsTransform(request.constants, request.maps)
    return transform.to_counts(transform.to_network(pixels))
