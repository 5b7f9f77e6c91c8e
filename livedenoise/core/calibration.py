"""The calibration folder: what a camera was measured to be, as every command takes it.

A calibration is a folder with

- ``camera.toml``: ``[constants]`` gain_e_per_adu, offset_adu, read_noise_e, excess_noise_factor;
  ``[camera]`` name, width_px, height_px, bit_depth, mode. Other keys in these two tables are
  refused; further tables (how it was measured) are left to whoever wrote them;
- ``maps.tif`` (optional): three float32 pages (Y, X): offset in counts, gain in electrons per
  count, dark variance in counts squared;
- its identity is the SHA-256 of both files, computed on reading.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError

HASH_LENGTH = 12
_MAP_NAMES = ("offset_adu", "gain_e_per_adu", "variance_adu2")
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]


class _CameraTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    width_px: _Pixels
    height_px: _Pixels
    bit_depth: Annotated[int, msgspec.Meta(ge=1, le=32)]
    mode: str = ""


class _ConstantsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    gain_e_per_adu: float
    offset_adu: float
    read_noise_e: float
    excess_noise_factor: float = 1.0


class _Tables(msgspec.Struct, frozen=True, kw_only=True):
    camera: _CameraTable
    constants: _ConstantsTable


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration read from its folder; ``maps`` is None where only scalars were measured."""

    path: Path
    camera: str
    sensor: tuple[int, int]
    bit_depth: int
    constants: CameraConstants
    maps: CameraMaps | None
    hash: str


def read_calibration(folder: Path) -> Calibration:
    """Read a calibration folder.

    Raises
    ------
    CalibrationError
        If a file is missing, a key is wrong, or the maps do not fit the sensor.
    """
    table_path, maps_path = folder / "camera.toml", folder / "maps.tif"
    try:
        content = table_path.read_bytes()
        table = tomllib.loads(content.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise CalibrationError(
            f"{folder}: not a calibration folder: camera.toml is missing"
        ) from None
    except OSError as error:
        raise CalibrationError(f"{table_path}: cannot be read: {error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CalibrationError(f"{table_path}: not valid TOML: {error}") from error
    digest = hashlib.sha256(content)
    maps = None
    if maps_path.exists():
        digest.update(maps_path.read_bytes())
        maps = _read_maps(maps_path)
    identity = digest.hexdigest()[:HASH_LENGTH]
    return _assemble(folder, table, maps, identity)


def write_calibration(
    folder: Path,
    constants: CameraConstants,
    *,
    camera: str,
    sensor: tuple[int, int],
    bit_depth: int,
    maps: CameraMaps | None = None,
    mode: str = "",
    extra: str = "",
) -> Calibration:
    """Write a calibration folder (it must not exist yet) and read it back.

    Parameters
    ----------
    mode : str
        Readout mode of the camera, in words.
    extra : str
        Further TOML tables for ``camera.toml``: how it was measured.

    Raises
    ------
    CalibrationError
        If the folder exists or cannot be written, the maps do not fit the sensor, or ``extra`` is
        not TOML or would change one of the two tables.
    """
    if maps is not None:
        _require_fit(folder, maps, sensor)
    text = _table_text(constants, camera, sensor, bit_depth, mode)
    text = _with_extra(folder, text, extra)
    try:
        folder.mkdir(parents=True)
        if maps is not None:
            _write_maps(folder / "maps.tif", maps)
        # Last: without it the folder is no calibration.
        (folder / "camera.toml").write_text(text, encoding="utf-8")
    except FileExistsError:
        raise CalibrationError(f"{folder}: exists already", "choose another folder") from None
    except OSError as error:
        raise CalibrationError(f"{folder}: cannot be written: {error}") from error
    return read_calibration(folder)


def _table_text(
    constants: CameraConstants, camera: str, sensor: tuple[int, int], bit_depth: int, mode: str
) -> str:
    # float() and int(): a numpy scalar's repr is not a number in TOML.
    lines = [
        "[camera]",
        f"name = {_toml_string(camera)}",
        f"width_px = {int(sensor[1])}",
        f"height_px = {int(sensor[0])}",
        f"bit_depth = {int(bit_depth)}",
        *([f"mode = {_toml_string(mode)}"] if mode else []),
        "",
        "[constants]",
        f"gain_e_per_adu = {float(constants.gain_e_per_adu)!r}",
        f"offset_adu = {float(constants.offset_adu)!r}",
        f"read_noise_e = {float(constants.read_noise_e)!r}",
        f"excess_noise_factor = {float(constants.excess_noise_factor)!r}",
        "",
    ]
    return "\n".join(lines)


def _with_extra(folder: Path, text: str, extra: str) -> str:
    """Return the text with further tables behind it, checked before anything is written."""
    if not extra:
        return text
    try:
        whole = tomllib.loads(f"{text}\n{extra}")
    except tomllib.TOMLDecodeError as error:
        raise CalibrationError(f"{folder}: further tables are not valid TOML: {error}") from error
    own = tomllib.loads(text)
    if any(whole[name] != table for name, table in own.items()):
        raise CalibrationError(f"{folder}: further tables must not change {', '.join(own)}")
    return f"{text}\n{extra}"


def _toml_string(text: str) -> str:
    """Return a TOML basic string: JSON's escapes are TOML's, but for DEL, which TOML refuses."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_maps(path: Path, maps: CameraMaps) -> None:
    import tifffile

    with tifffile.TiffWriter(path) as tiff:
        for name in _MAP_NAMES:
            page = np.ascontiguousarray(getattr(maps, name), dtype=np.float32)
            tiff.write(page, metadata=None, photometric="minisblack", contiguous=False)


def _read_maps(path: Path) -> CameraMaps:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            pages = np.stack([page.asarray() for page in tiff.pages])
    except Exception as error:
        # A damaged file can fail in any way inside the TIFF reader and its codecs.
        raise CalibrationError(f"{path}: cannot be read as TIFF: {error}") from error
    if pages.ndim != 3 or pages.shape[0] != len(_MAP_NAMES):
        raise CalibrationError(
            f"{path}: expected 3 pages (offset, gain, variance) of one size, got {pages.shape}"
        )
    if not np.isfinite(pages).all() or (pages[1] <= 0).any() or (pages[2] < 0).any():
        raise CalibrationError(f"{path}: maps must be finite, gain > 0 and variance >= 0")
    offset, gain, variance = (np.ascontiguousarray(p, dtype=np.float32) for p in pages)
    return CameraMaps(offset_adu=offset, gain_e_per_adu=gain, variance_adu2=variance)


def _require_fit(folder: Path, maps: CameraMaps, sensor: tuple[int, int]) -> None:
    for name in _MAP_NAMES:
        shape = getattr(maps, name).shape
        if shape != sensor:
            raise CalibrationError(
                f"{folder}: map {name} is {shape} but camera.toml says {sensor} (Y, X)"
            )


def _assemble(
    folder: Path, table: dict[str, Any], maps: CameraMaps | None, identity: str
) -> Calibration:
    try:
        tables = msgspec.convert(table, _Tables)
        constants = CameraConstants(
            **msgspec.structs.asdict(tables.constants),
            source="calibration",
            calibration_hash=identity,
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise CalibrationError(f"{folder / 'camera.toml'}: {error}") from error
    sensor = (tables.camera.height_px, tables.camera.width_px)
    if maps is not None:
        _require_fit(folder, maps, sensor)
    return Calibration(
        path=folder,
        camera=tables.camera.name,
        sensor=sensor,
        bit_depth=tables.camera.bit_depth,
        constants=constants,
        maps=maps,
        hash=identity,
    )
