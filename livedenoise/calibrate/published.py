"""Per-pixel maps that others measured, as our calibration.

Knows: maps as TIFF files named for what they are (ACsN, Diekmann et al., Nat. Commun. 13, 2022,
and most home-made ones), and plain ``.npy`` arrays (offset, variance, gain[, efficiency], Y, X) in
the order of Huang et al. (Nature Methods 10, 2013) and storm-analysis. Must not know: measuring.

Gain is published in electrons per count and in counts per electron, noise in counts and in
electrons, and the files do not say: the user does. Nothing is unpickled.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.errors import CalibrationError

GainUnit = Literal["e_per_adu", "adu_per_e"]
NoiseUnit = Literal["adu", "e"]
FloatMap = npt.NDArray[np.float64]

_NAMES = {
    "gain": re.compile(r"gain", re.IGNORECASE),
    "offset": re.compile(r"offset|bias", re.IGNORECASE),
    "variance": re.compile(r"var(?:iance)?(?![a-z])", re.IGNORECASE),
    "noise": re.compile(r"read[ _-]?noise|noise|(?<![a-z])rn(?![a-z])|sigma", re.IGNORECASE),
}
_BAD_FRACTION = 0.01
_PLANES = ("offset", "variance", "gain", "efficiency")


class PublishedMaps(msgspec.Struct, frozen=True, kw_only=True):
    """Maps in our units, their scalar constants, and what was assumed."""

    constants: CameraConstants
    maps: CameraMaps
    sources: tuple[str, ...]
    warnings: tuple[str, ...]


def read_published(
    path: Path,
    *,
    gain_unit: GainUnit | None,
    noise_unit: NoiseUnit | None = None,
    read_noise_e: float | None = None,
) -> PublishedMaps:
    """Read published maps from a folder of TIFF files or a ``.npy`` file.

    Parameters
    ----------
    gain_unit, noise_unit : str, optional
        Unit of the gain map, and of a map of read noise (a map of variance is in counts squared).
    read_noise_e : float, optional
        Read noise of every pixel where there is no map of it, electrons rms.

    Raises
    ------
    CalibrationError
        If a map or a unit is missing, sizes differ, a file cannot be read, or more than 1 % of
        the pixels have values no camera has.
    """
    found, sources = _from_npy(path) if path.suffix == ".npy" else _from_folder(path)
    for name in ("gain", "offset"):
        if name not in found:
            raise CalibrationError(
                f"{path}: no map of the {name} (found: {', '.join(found) or 'none'})",
                "name the files for what they are: gain.tif, offset.tif, variance.tif",
            )
    _require_one_shape(path, found)
    gain, warnings = _gain(path, found["gain"], gain_unit)
    variance, more = _variance(path, found, gain, noise_unit, read_noise_e)
    offset = found["offset"]
    if not np.isfinite(offset).all():
        raise CalibrationError(f"{path}: the offset map has pixels that are no numbers")
    maps = CameraMaps(
        offset_adu=offset.astype(np.float32),
        gain_e_per_adu=gain.astype(np.float32),
        variance_adu2=variance.astype(np.float32),
    )
    return PublishedMaps(
        constants=constants_of(maps), maps=maps, sources=sources, warnings=(*warnings, *more)
    )


def constants_of(maps: CameraMaps) -> CameraConstants:
    """Return scalar constants of maps: median gain, mean offset, read noise rms over pixels."""
    gain = maps.gain_e_per_adu.astype(np.float64)
    noise_e2 = maps.variance_adu2.astype(np.float64) * gain**2
    return CameraConstants(
        gain_e_per_adu=float(np.median(gain)),
        offset_adu=float(maps.offset_adu.mean(dtype=np.float64)),
        read_noise_e=float(np.sqrt(noise_e2.mean())),
        source="calibration",
    )


def _gain(path: Path, values: FloatMap, unit: GainUnit | None) -> tuple[FloatMap, tuple[str, ...]]:
    """Return the gain in electrons per count, with pixels that have none at the median."""
    if unit is None:
        raise CalibrationError(
            f"{path}: the gain map (median {np.median(values):.4g}) does not say its unit",
            "give --gain-unit e_per_adu (electrons per count) or adu_per_e (counts per electron)",
        )
    bad = ~np.isfinite(values) | (values <= 0)
    if bad.mean() > _BAD_FRACTION:
        raise CalibrationError(
            f"{path}: {100 * bad.mean():.1f} % of the gain map is zero, negative or no number"
        )
    good = np.where(bad, np.median(values[~bad]), values)
    gain: FloatMap = good if unit == "e_per_adu" else 1.0 / good
    if not bad.any():
        return gain, ()
    return gain, (f"{int(bad.sum())} pixels without a gain were given the median",)


def _variance(
    path: Path,
    found: dict[str, FloatMap],
    gain: FloatMap,
    unit: NoiseUnit | None,
    read_noise_e: float | None,
) -> tuple[FloatMap, tuple[str, ...]]:
    """Return the dark variance in counts squared."""
    told: tuple[str, ...] = ()
    _require_used(path, found, unit, read_noise_e)
    if "variance" in found:
        variance = found["variance"]
    elif "noise" in found:
        if unit is None:
            raise CalibrationError(
                f"{path}: the noise map (median {np.median(found['noise']):.4g}) does not say its "
                "unit",
                "give --noise-unit adu (counts) or e (electrons)",
            )
        noise = found["noise"] if unit == "adu" else found["noise"] / gain
        variance = noise**2
    elif read_noise_e is not None:
        variance = (read_noise_e / gain) ** 2
        told = (f"no map of the read noise: {read_noise_e:g} e rms is taken for every pixel",)
    else:
        raise CalibrationError(
            f"{path}: no map of the variance or read noise",
            "give the read noise of the data sheet: --read-noise E",
        )
    if not np.isfinite(variance).all() or (variance < 0).any():
        raise CalibrationError(
            f"{path}: the noise map has negative pixels or such as are no number"
        )
    return variance, told


def _require_used(
    path: Path, found: dict[str, FloatMap], unit: NoiseUnit | None, read_noise_e: float | None
) -> None:
    """Refuse what was said of the noise where a map says it."""
    kind = next((name for name in ("variance", "noise") if name in found), "")
    if read_noise_e is not None and kind:
        raise CalibrationError(
            f"{path}: --read-noise {read_noise_e:g} does not apply: there is a map of the {kind}",
            "leave it out, or take the map out of the folder",
        )
    if unit is not None and kind != "noise":
        raise CalibrationError(
            f"{path}: --noise-unit {unit} does not apply: there is no map of read noise",
            "leave it out; a map of the variance is in counts squared",
        )


def _from_folder(folder: Path) -> tuple[dict[str, FloatMap], tuple[str, ...]]:
    if not folder.is_dir():
        raise CalibrationError(
            f"{folder}: not a folder of maps (gain.tif, offset.tif, variance.tif) nor a .npy file"
        )
    files = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".tif", ".tiff", ".npy")]
    named: dict[str, Path] = {}
    for file in files:
        names = [name for name, pattern in _NAMES.items() if pattern.search(file.stem)]
        if not names:
            continue
        if names[0] in named:
            raise CalibrationError(
                f"{folder}: both {named[names[0]].name} and {file.name} may be the {names[0]} map",
                "leave one of them in the folder",
            )
        named[names[0]] = file
    return (
        {name: _image(file) for name, file in named.items()},
        tuple(f"{name}: {file.name}" for name, file in named.items()),
    )


def _image(file: Path) -> FloatMap:
    import tifffile

    if file.suffix.lower() == ".npy":
        values = _npy(file)
    else:
        try:
            values = np.asarray(tifffile.imread(file))
        except Exception as error:
            # A damaged file can fail in any way inside the TIFF reader and its codecs.
            raise CalibrationError(f"{file}: cannot be read as TIFF: {error}") from error
    return _two_axes(file, values)


def _two_axes(file: Path, values: npt.NDArray[Any]) -> FloatMap:
    values = np.squeeze(values)
    if values.ndim != 2 or values.dtype.kind not in "uif":
        raise CalibrationError(
            f"{file}: a map is one image (Y, X) of numbers, got {values.shape} of {values.dtype}"
        )
    return values.astype(np.float64)


def _from_npy(file: Path) -> tuple[dict[str, FloatMap], tuple[str, ...]]:
    values = _npy(file)
    if values.ndim != 3 or values.shape[0] not in (3, 4) or values.dtype.kind not in "uif":
        raise CalibrationError(
            f"{file}: expected an array (3 or 4, Y, X): offset, variance, gain[, efficiency]; got "
            f"{values.shape} of {values.dtype}"
        )
    found = {name: values[i].astype(np.float64) for i, name in enumerate(_PLANES[: len(values)])}
    return found, tuple(f"{name}: plane {i} of {file.name}" for i, name in enumerate(found))


def _npy(file: Path) -> npt.NDArray[Any]:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except FileNotFoundError:
        raise CalibrationError(f"{file}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise CalibrationError(
            f"{file}: cannot be read without running what it contains: {error}",
            "save the maps as one plain array, where you trust the file: "
            "np.save('maps.npy', np.stack(np.load(FILE, allow_pickle=True)[:3]).astype('f4'))",
        ) from error


def _require_one_shape(path: Path, found: dict[str, FloatMap]) -> None:
    shapes = {name: values.shape for name, values in found.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise CalibrationError(f"{path}: maps differ in size (Y, X): {listed}")
