"""Reading a model package: a bioimage.io folder whose network works in electrons.

Knows: the manifest (``rdf.yaml``), the hash of the network's file, what ``config.livedenoise`` must
say, and which packages are shipped. A package is refused here, before any engine is opened.
Must not know: runtimes, frames, cameras.

``config.livedenoise`` of the manifest holds: ``units`` (``k-sigma``), ``stride`` (one number, or
[Y, X]), ``receptive_field_px`` (how far from an output pixel an input pixel can matter),
``kflop_per_px`` and ``electron_range`` (the levels it was trained for).
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.core.errors import PackageError

HASH_LENGTH = 12
UNITS = "k-sigma"
_MODELS = Path(__file__).resolve().parent.parent / "models"


class ModelPackage(msgspec.Struct, frozen=True, kw_only=True):
    """A model package whose hash and manifest were checked.

    Attributes
    ----------
    path, onnx_path : Path
        Folder, and the network's file in it.
    name : str
        Name in the manifest.
    sha256, hash : str
        SHA-256 of the network's file, and its first 12 characters (what headers and metadata say).
    units : str or None
        ``"k-sigma"``: input and output in electrons + read_noise_e**2.
    stride : tuple of int
        (Y, X): the network takes sizes that are multiples of it; tiles start at multiples of it.
    receptive_field_px : int
        Largest distance along one axis between an output pixel and an input pixel it depends on.
    kflop_per_px : float
        Cost of one pixel, in thousands of floating-point operations.
    electron_range : tuple of float
        Lowest and highest mean level, electrons per pixel, it was trained for.
    card : str
        The README of the package, empty for none.
    rdf : dict
        The manifest as it stands in the file.
    """

    path: Path
    onnx_path: Path
    name: str
    sha256: str
    hash: str
    units: str | None
    stride: tuple[int, int]
    receptive_field_px: int
    kflop_per_px: float
    electron_range: tuple[float, float]
    card: str
    rdf: dict[str, Any]


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """``config.livedenoise`` as it must be; other keys are for people."""

    units: str
    stride: int | tuple[int, int]
    receptive_field_px: int
    kflop_per_px: float
    electron_range: tuple[float, float]


def read_package(folder: Path) -> ModelPackage:
    """Read and check a model package.

    Raises
    ------
    PackageError
        If a file or key is missing, the hash differs from the manifest's (both printed), the
        package is a foreign one, or the network takes other than one float32 (N, 1, Y, X).
    """
    rdf_path = folder / "rdf.yaml"
    rdf = _read_manifest(rdf_path)
    section = _read_section(rdf, rdf_path)
    onnx_path, expected = _network_file(rdf, rdf_path)
    content = _read_bytes(onnx_path)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != expected.lower():
        raise PackageError(
            f"{onnx_path}: its SHA-256 is {sha256} but rdf.yaml says {expected}",
            "the package is damaged or was changed: fetch or export it again",
        )
    _check_network(content, onnx_path)
    return _assemble(rdf, rdf_path, section, onnx_path, sha256)


def resolve_model(name_or_path: str | Path) -> Path:
    """Return the folder of a model: a shipped name, else a path.

    Raises
    ------
    PackageError
        If it is neither; the message lists the shipped names.
    """
    text = str(name_or_path)
    if text in shipped_models():
        return _MODELS / text
    folder = Path(name_or_path)
    if (folder / "rdf.yaml").is_file():
        return folder
    shipped = ", ".join(shipped_models()) or "none"
    what = "a folder without rdf.yaml" if folder.is_dir() else "no shipped model, no folder"
    raise PackageError(f"model {text!r}: {what}", f"shipped models: {shipped}")


def shipped_models() -> tuple[str, ...]:
    """Return the names of the models that come with livedenoise, sorted."""
    return tuple(sorted(path.parent.name for path in _MODELS.glob("*/rdf.yaml")))


def _read_manifest(path: Path) -> dict[str, Any]:
    import yaml

    text = _read_bytes(path)
    try:
        rdf = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(rdf, dict) or rdf.get("type") != "model":
        kind = rdf.get("type") if isinstance(rdf, dict) else type(rdf).__name__
        raise PackageError(f"{path}: not a model description: type is {kind!r}, not 'model'")
    return rdf


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PackageError(f"{path}: no such file", "name a model package folder") from None
    except OSError as error:
        raise PackageError(f"{path}: cannot be read: {error}") from error


def _read_section(rdf: dict[str, Any], path: Path) -> _Section:
    config = rdf.get("config")
    values = config.get("livedenoise") if isinstance(config, dict) else None
    if values is None:
        raise PackageError(
            f"{path}: a foreign package (no config.livedenoise): its network does not work in "
            "electrons and cannot be served yet",
            "use a model exported by livedenoise; foreign packages come in a later version",
        )
    try:
        section = msgspec.convert(values, _Section)
    except msgspec.ValidationError as error:
        raise PackageError(f"{path}: config.livedenoise: {error}") from error
    if section.units != UNITS:
        raise PackageError(f"{path}: config.livedenoise.units is {section.units!r}, not {UNITS!r}")
    return section


def _network_file(rdf: dict[str, Any], path: Path) -> tuple[Path, str]:
    try:
        entry = rdf["weights"]["onnx"]
        source, sha256 = str(entry["source"]), str(entry["sha256"])
    except (KeyError, TypeError) as error:
        raise PackageError(f"{path}: weights.onnx must have source and sha256: {error}") from error
    folder = path.parent.resolve()
    target = (folder / source).resolve()
    if target.parent != folder:
        raise PackageError(f"{path}: weights.onnx.source is {source!r}, not a file of the folder")
    return path.parent / source, sha256


def _check_network(content: bytes, path: Path) -> None:
    import onnx

    try:
        graph = onnx.load_model_from_string(content).graph
    except _decode_error() as error:
        raise PackageError(f"{path}: not an ONNX file: {error}") from error
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    for what, values in (("input", inputs), ("output", list(graph.output))):
        if len(values) != 1:
            names = [value.name for value in values]
            raise PackageError(f"{path}: needs one {what}, has {len(values)}: {names}")
        _check_tensor(values[0], what, path)
    external = [t.name for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    if external:
        raise PackageError(
            f"{path}: {external[0]!r} lies in another file, which no hash covers",
            "export the network with its weights inside",
        )


def _decode_error() -> type[Exception]:
    """Return what protobuf (a dependency of onnx, without type hints) raises on other bytes."""
    kind: type[Exception] = importlib.import_module("google.protobuf.message").DecodeError
    return kind


def _check_tensor(value: Any, what: str, path: Path) -> None:  # noqa: ANN401
    import onnx

    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type)
    sizes = [axis.dim_value or None for axis in tensor.shape.dim]
    if name != "FLOAT" or len(sizes) != 4:
        raise PackageError(
            f"{path}: {what} {value.name!r} is {name} with {len(sizes)} axes, "
            "needs FLOAT with 4: (N, 1, Y, X)"
        )
    shown = "(" + ", ".join("free" if size is None else str(size) for size in sizes) + ")"
    if sizes[1] not in (1, None) or sizes[0] not in (1, None):
        raise PackageError(
            f"{path}: {what} {value.name!r} is {shown}, needs 1 channel: (N, 1, Y, X)"
        )
    if what == "input" and (sizes[2] or sizes[3]):
        raise PackageError(f"{path}: {what} {value.name!r} is {shown}, needs Y and X free")


def _assemble(
    rdf: dict[str, Any], rdf_path: Path, section: _Section, onnx_path: Path, sha256: str
) -> ModelPackage:
    stride = section.stride
    pair = stride if isinstance(stride, tuple) else (stride, stride)
    low, high = section.electron_range
    if min(pair) < 1 or section.receptive_field_px < 0 or not 0 <= low < high:
        raise PackageError(
            f"{rdf_path}: config.livedenoise: stride {pair} must be >= 1, receptive_field_px "
            f"{section.receptive_field_px} >= 0 and electron_range {(low, high)} rising from >= 0"
        )
    card = rdf_path.parent / "README.md"
    return ModelPackage(
        path=rdf_path.parent,
        onnx_path=onnx_path,
        # The folder: what users type as --model, and the same in every file that names it.
        name=rdf_path.parent.resolve().name,
        sha256=sha256,
        hash=sha256[:HASH_LENGTH],
        units=section.units,
        stride=pair,
        receptive_field_px=section.receptive_field_px,
        kflop_per_px=section.kflop_per_px,
        electron_range=(low, high),
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
        rdf=rdf,
    )
