"""The contract of recorded frames: what replay and predict read, whatever the file format."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from livedenoise.core.constants import CameraConstants
from livedenoise.core.frame import Frame


class FrameSource(Protocol):
    """Frames of one recording, all of one shape and dtype, read one at a time.

    Attributes
    ----------
    path : Path
        File or folder it was opened from.
    shape : tuple of int
        (Y, X) of every frame.
    dtype : str
        ``"|u1"``, ``"<u2"`` or ``"<f4"``.
    bit_depth : int
        Valid bits of integer frames, from the metadata where it says, else the dtype's.
    n_frames : int
        Number of frames.
    period_ns : int
        Median time between frames as recorded; 0 when unknown.
    exposure_us : int
        Commanded exposure as recorded; 0 when unknown.
    constants : CameraConstants or None
        Camera constants stored with the recording.
    """

    path: Path
    shape: tuple[int, int]
    dtype: str
    bit_depth: int
    n_frames: int
    period_ns: int
    exposure_us: int
    constants: CameraConstants | None

    def read(self, index: int) -> Frame:
        """Return frame ``index`` as a C-contiguous native (Y, X) array.

        Raises
        ------
        ConfigError
            If the file is damaged at that frame; the message names file and frame.
        """

    def time_ns(self, index: int) -> int:
        """Return the recorded time of frame ``index`` since frame 0; 0 when unknown."""

    def close(self) -> None:
        """Release files. Idempotent."""
