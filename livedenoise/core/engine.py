"""The engine contract: a denoiser compiled for one machine, frame shape and camera.

Counts go in and counts come out: the engine converts to the network's units and back (see
``imaging.transforms``). It takes up to three frames in flight and knows nothing of rings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import msgspec

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.frame import Frame

MAX_IN_FLIGHT = 3


class ServeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine is asked to serve.

    Attributes
    ----------
    shape : tuple of int
        (Y, X) of every frame.
    dtype, out_dtype : str
        ``"|u1"``, ``"<u2"`` or ``"<f4"``. ``out_dtype`` ``"<f4"`` keeps fractions of a count and
        clips nothing; integer outputs are rounded to nearest and clipped to the bit depth.
    bit_depth : int
        Valid bits of an integer frame: outputs are clipped to [0, 2**bit_depth - 1].
    package : Path or None
        Folder of the model package; None for engines without a model (identity).
    maps : CameraMaps or None
        Per-pixel maps already cropped to this frame.
    cache_dir : Path or None
        Where compiled engines may be kept; None compiles afresh.
    """

    shape: tuple[int, int]
    dtype: str
    out_dtype: str
    bit_depth: int
    constants: CameraConstants
    package: Path | None = None
    maps: CameraMaps | None = None
    precision: Literal["auto", "fp32"] = "auto"
    threads: int = 0
    cache_dir: Path | None = None


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an open engine is: shown on screen and written into every recording.

    ``in_flight`` is how many frames it takes at once; ``overlaps`` says whether they gain from it
    (copies beside computation). On a processor they do not: a second frame only waits.
    """

    engine: str
    version: str
    precision: str
    device: str
    model: str
    model_hash: str
    in_flight: int
    open_ms: float
    cached: bool = False
    overlaps: bool = False
    notes: tuple[str, ...] = ()


class FrameView(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as an engine sees it: its number and its (Y, X) pixels."""

    seq: int
    pixels: Frame


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """One finished inference. ``error`` is empty on success; ``clipped`` counts output pixels."""

    seq: int
    t_start_ns: int
    t_end_ns: int
    error: str = ""
    clipped: int = 0


class Engine(Protocol):
    """A denoiser. Conformance: ``livedenoise.testing.engine_kit``."""

    def unsupported(self, request: ServeRequest) -> str | None:
        """Return why this engine cannot serve the request, before any allocation; else None."""

    def open(self, request: ServeRequest) -> EngineInfo:
        """Allocate, load and warm up.

        Raises
        ------
        PackageError
            If the package does not fit.
        DenoiseError
            If the runtime cannot load it.
        """

    def submit(self, frame: FrameView, out: Frame, *, reset: bool) -> None:
        """Start on a frame; the result goes to ``out``. Both arrays stay untouched until done.

        ``reset`` says that a skipped, passed-through or new-epoch frame came between this one and
        the last, so that a temporal state must be forgotten.

        Raises
        ------
        DenoiseError
            If the frame cannot be taken (wrong shape, too many in flight).
        """

    def poll(self, timeout_s: float) -> Done | None:
        """Return the oldest submitted frame once finished, or None after ``timeout_s``."""

    def close(self) -> None:
        """Finish what is in flight and release everything. Idempotent."""
