"""Cutting a frame into tiles that give the whole frame's result.

Pure: knows numbers only. Every tile has one shape (one compiled engine serves them all), starts at
a multiple of the network's stride, and keeps only what lies a receptive field away from those of
its edges that are not the frame's own. Its size is that of the frame modulo the stride, so that the
last tile, too, starts at such a multiple and ends with the frame: the padding inside the graph is
then that of the whole frame.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from livedenoise.core.errors import ConfigError

Window = tuple[slice, slice]


class Tile(NamedTuple):
    """One tile: ``read`` it from the frame; put its part ``inner`` to ``write`` in the result.

    All are (Y, X) slices: ``read`` and ``write`` of the frame, ``inner`` of the tile.
    """

    read: Window
    inner: Window
    write: Window

    @property
    def shape(self) -> tuple[int, int]:
        """Return (Y, X) of the tile."""
        rows, columns = self.read
        return (rows.stop - rows.start, columns.stop - columns.start)


def plan_tiles(
    shape: tuple[int, int], *, edge_px: int, margin_px: int, stride: tuple[int, int]
) -> tuple[Tile, ...]:
    """Return tiles whose kept parts make up the frame, each pixel once.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the frame.
    edge_px : int
        Largest edge of a tile, its margins included.
    margin_px : int
        Receptive field of the network: how far an output pixel can see.
    stride : tuple of int
        (Y, X) stride of the network.

    Raises
    ------
    ConfigError
        If tiles of that size keep nothing; the message says which size does.
    """
    axes = [
        _cut(length, edge_px, margin_px, step) for length, step in zip(shape, stride, strict=True)
    ]
    return tuple(
        Tile(*((row, column) for row, column in zip(y, x, strict=True)))
        for y in axes[0]
        for x in axes[1]
    )


class _Span(NamedTuple):
    """``Tile`` along one axis."""

    read: slice
    inner: slice
    write: slice


def _cut(length: int, edge_px: int, margin_px: int, stride: int) -> list[_Span]:
    if length <= edge_px:
        whole = slice(0, length)
        return [_Span(whole, whole, whole)]
    size = edge_px - (edge_px - length) % stride
    margin = -(-margin_px // stride) * stride
    step = (size - 2 * margin) // stride * stride
    if step < stride:
        least = 2 * margin + 2 * stride
        raise ConfigError(
            f"tiles of {edge_px} px keep nothing: the model sees {margin_px} px to each side",
            f"use tiles of at least {least} px",
        )
    last = length - size
    starts = [*range(0, last, step), last]
    # A cut between two tiles lies a margin before the end of the first.
    cuts = [0, *(start + size - margin for start in starts[:-1]), length]
    return [
        _Span(
            slice(start, start + size),
            slice(low - start, high - start),
            slice(low, high),
        )
        for start, (low, high) in zip(starts, pairwise(cuts), strict=True)
    ]
