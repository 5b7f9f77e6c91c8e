"""Open a recording, whatever it is: TIFF, PNG, NDTiff data set or run folder.

Knows: how each kind is recognised, by content and not by name. Must not know: how it is read.

Example
-------
>>> with open_source(Path("stack.tif")) as source:  # doctest: +SKIP
...     first = source.read(0)
"""

from __future__ import annotations

from pathlib import Path

from livedenoise.acquire.source_base import RecordedFrames
from livedenoise.core.errors import ConfigError
from livedenoise.record.run_folder import TRUTH_NAME, is_run_folder, open_run
from livedenoise.record.sidecar import SIDECAR_NAME

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_KINDS = "a TIFF or PNG file, an NDTiff data set, or a run folder"


def open_source(path: Path, *, stream: str = "raw", camera: str | None = None) -> RecordedFrames:
    """Open a recording as a ``core.source.FrameSource``.

    Parameters
    ----------
    path : Path
        TIFF or PNG file, NDTiff folder, run folder, or the folder of one stream of a run.
    stream : str
        Of a run folder: ``"raw"``, ``"clean"`` or ``"truth"``.
    camera : str, optional
        Of a run folder with several cameras: which one.

    Raises
    ------
    ConfigError
        If it does not exist, is of no known kind, damaged, or holds no grey frames of one size.
    """
    if path.is_dir():
        return _open_folder(path, stream, camera)
    try:
        with path.open("rb") as file:
            magic = file.read(8)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if magic[:4] in _TIFF_MAGIC:
        from livedenoise.acquire.source_tiff import TiffSource

        return TiffSource(path)
    if magic == _PNG_MAGIC:
        from livedenoise.acquire.source_png import PngSource

        return PngSource(path)
    what = "is empty" if not magic else f"begins with {magic!r}"
    raise ConfigError(f"{path}: {what}: not a recording", f"give {_KINDS}")


def _open_folder(path: Path, stream: str, camera: str | None) -> RecordedFrames:
    from livedenoise.acquire.source_ndtiff import INDEX_NAME, NdtiffSource
    from livedenoise.acquire.source_run import RunSource, open_stream

    if is_run_folder(path):
        if stream == "truth":
            return _open_truth(path, camera)
        return open_stream(path, stream, camera)
    if (path / SIDECAR_NAME).is_file():
        # STREAM/CAMERA of a run: the run folder, two levels up, knows the camera's constants.
        run_path = path.resolve().parent.parent
        return RunSource(path, open_run(run_path) if is_run_folder(run_path) else None)
    if (path / INDEX_NAME).is_file():
        return NdtiffSource(path)
    if (path / "Full resolution").is_dir():
        raise ConfigError(
            f"{path}: a multi-resolution NDTiff data set",
            f"give the folder {path / 'Full resolution'}",
        )
    raise ConfigError(
        f"{path}: a folder without run.json, {SIDECAR_NAME} or {INDEX_NAME}", f"give {_KINDS}"
    )


def _open_truth(path: Path, camera: str | None) -> RecordedFrames:
    from livedenoise.acquire.source_tiff import TiffSource

    files = sorted((path / "truth").glob(f"{camera or '*'}/{TRUTH_NAME}"))
    if len(files) != 1:
        names = ", ".join(file.parent.name for file in files) or "none"
        raise ConfigError(
            f"{path}: the truth of exactly one camera is wanted, found: {names}",
            "name the camera; save_truth = true records the truth of a simulated one",
        )
    return TiffSource(files[0])
