"""The calibration folder: what a camera was measured to be, as every command takes it.

A calibration is a folder with

- ``camera.toml``: ``[constants]`` gain_e_per_adu, offset_adu, read_noise_e, excess_noise_factor;
  ``[camera]`` name, width_px, height_px, bit_depth, mode;
- ``maps.tif`` (optional): three float32 pages (Y, X): offset in counts, gain in electrons per
  count, dark variance in counts squared;
- its identity is the SHA-256 of both files, computed on reading.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError

HASH_LENGTH = 12
_MAP_NAMES = ("offset_adu", "gain_e_per_adu", "variance_adu2")


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
    except FileNotFoundError:
        raise CalibrationError(
            f"{folder}: not a calibration folder: camera.toml is missing"
        ) from None
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
) -> Calibration:
    """Write a calibration folder (it must not exist yet) and read it back.

    Raises
    ------
    CalibrationError
        If the folder exists.
    """
    import tifffile

    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise CalibrationError(f"{folder}: exists already", "choose another folder") from None
    lines = [
        "[camera]",
        f'name = "{camera}"',
        f"width_px = {sensor[1]}",
        f"height_px = {sensor[0]}",
        f"bit_depth = {bit_depth}",
        "",
        "[constants]",
        f"gain_e_per_adu = {constants.gain_e_per_adu!r}",
        f"offset_adu = {constants.offset_adu!r}",
        f"read_noise_e = {constants.read_noise_e!r}",
        f"excess_noise_factor = {constants.excess_noise_factor!r}",
        "",
    ]
    if maps is not None:
        pages = np.stack([getattr(maps, name) for name in _MAP_NAMES]).astype(np.float32)
        tifffile.imwrite(folder / "maps.tif", pages, metadata=None, photometric="minisblack")
    (folder / "camera.toml").write_text("\n".join(lines), encoding="utf-8")
    return read_calibration(folder)


def _read_maps(path: Path) -> CameraMaps:
    import tifffile

    try:
        pages: npt.NDArray[Any] = tifffile.imread(path)
    except (tifffile.TiffFileError, OSError, ValueError) as error:
        raise CalibrationError(f"{path}: cannot be read as TIFF: {error}") from error
    if pages.ndim != 3 or pages.shape[0] != len(_MAP_NAMES):
        raise CalibrationError(
            f"{path}: expected 3 pages (offset, gain, variance) of one size, got {pages.shape}"
        )
    if not np.isfinite(pages).all() or (pages[1] <= 0).any() or (pages[2] < 0).any():
        raise CalibrationError(f"{path}: maps must be finite, gain > 0 and variance >= 0")
    offset, gain, variance = (np.ascontiguousarray(p, dtype=np.float32) for p in pages)
    return CameraMaps(offset_adu=offset, gain_e_per_adu=gain, variance_adu2=variance)


def _assemble(
    folder: Path, table: dict[str, Any], maps: CameraMaps | None, identity: str
) -> Calibration:
    try:
        camera, values = table["camera"], table["constants"]
        sensor = (int(camera["height_px"]), int(camera["width_px"]))
        constants = CameraConstants(
            gain_e_per_adu=float(values["gain_e_per_adu"]),
            offset_adu=float(values["offset_adu"]),
            read_noise_e=float(values["read_noise_e"]),
            excess_noise_factor=float(values.get("excess_noise_factor", 1.0)),
            source="calibration",
            calibration_hash=identity,
        )
        name, bit_depth = str(camera["name"]), int(camera["bit_depth"])
    except KeyError as error:
        raise CalibrationError(f"{folder / 'camera.toml'}: key {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"{folder / 'camera.toml'}: {error}") from error
    if maps is not None and maps.offset_adu.shape != sensor:
        raise CalibrationError(
            f"{folder}: maps are {maps.offset_adu.shape} but camera.toml says {sensor} (Y, X)"
        )
    return Calibration(
        path=folder,
        camera=name,
        sensor=sensor,
        bit_depth=bit_depth,
        constants=constants,
        maps=maps,
        hash=identity,
    )
