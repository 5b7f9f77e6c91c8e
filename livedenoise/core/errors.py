"""Errors of livedenoise: one tree, each with an exit code and a hint that names the mend.

Knows: what kinds of failure exist and which process exit code each one means.
Must not know: where they are raised, how they are shown.

Exit codes
----------
0 clean (a drained Ctrl-C too), 2 configuration or usage, 3 camera, 4 denoiser dead,
5 recording incomplete, 6 internal, 130 aborted.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_CONFIG = 2
EXIT_CAMERA = 3
EXIT_DENOISER = 4
EXIT_RECORD = 5
EXIT_INTERNAL = 6
EXIT_ABORTED = 130


class LiveDenoiseError(Exception):
    """Base of every error this project raises on purpose.

    Parameters
    ----------
    message : str
        What happened, with the file, the key and the values involved.
    hint : str, optional
        What the user can do about it.
    """

    exit_code: int = EXIT_INTERNAL

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(LiveDenoiseError):
    """A configuration file, an option or an input file cannot be used as it is."""

    exit_code = EXIT_CONFIG


class PackageError(ConfigError):
    """A model package is incomplete, of another shape, or does not match its hash."""


class CalibrationError(ConfigError):
    """A calibration folder is incomplete or does not fit the camera."""


class CameraError(LiveDenoiseError):
    """The camera cannot be opened, stalled, or went away."""

    exit_code = EXIT_CAMERA


class BusError(LiveDenoiseError):
    """A ring or a channel cannot be used."""


class WireError(BusError):
    """A message is malformed, truncated, of another version, or lies about its size."""


class DenoiseError(LiveDenoiseError):
    """One inference failed; the frame passes through and the engine may go on."""

    exit_code = EXIT_DENOISER


class EngineDeadError(DenoiseError):
    """The engine cannot go on in this process: replace the process."""


class RecordError(LiveDenoiseError):
    """The recording cannot be started or finalised."""

    exit_code = EXIT_RECORD


class DataLossError(RecordError):
    """Frames that should be on disk are not. Never silent."""


class CollectError(LiveDenoiseError):
    """A collection cannot go on as planned; what was taken until then is on disk."""

    exit_code = EXIT_RECORD


class StageError(LiveDenoiseError):
    """A stage process died or did not answer.

    Parameters
    ----------
    message : str
        Which stage, how it ended.
    exit_code : int
        Exit code the whole run takes from this stage's death.
    hint : str, optional
        What the user can do about it.
    """

    def __init__(self, message: str, exit_code: int, hint: str = "") -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
