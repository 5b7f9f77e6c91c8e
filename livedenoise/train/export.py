"""Writing a trained network as a model package: ONNX in a bioimage.io folder.

Knows: the package's files (``rdf.yaml``, ``model.onnx``, test tensors, cover, README) and what
``config.livedenoise`` of the manifest must say. ``engines.package`` reads what is written here.
Must not know: how the network was trained; cameras (the ONNX core is camera-free).
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path
from typing import Any

import imagecodecs
import msgspec
import numpy as np
import numpy.typing as npt
import torch
import yaml
from torch import nn

from livedenoise.core.errors import PackageError
from livedenoise.train.networks import STRIDE, count_kflop_per_px, receptive_field_px
from livedenoise.train.synthesis import BRIGHT_RANGE_E, PEAK_RANGE_E, READ_NOISE_RANGE_E

OPSET = 18
FORMAT_VERSION = "0.5.4"
UNITS = "k-sigma"
INPUT, OUTPUT = "u", "mean_u"
K_SIGMA_PAPER = (
    "Wang et al., Practical Deep Raw Image Denoising on Mobile Devices, ECCV 2020 (k-sigma units)"
)
MAX_ONNX_BYTES = 1_000_000

DEFAULT_CAMERA = "sCMOS of 0.46 e/count, offset 100 counts, read noise 1.6 e (ORCA-Flash4.0 V3)"
DEFAULT_GAIN = 0.46
DEFAULT_OFFSET = -100 * DEFAULT_GAIN + 1.6**2
"""Default affine of the manifest, counts -> ``u``: only for programs that know no camera."""

_TEST_SHAPE = (1, 1, 96, 128)
_PARITY = 1e-3

FloatArray = npt.NDArray[np.float32]


class PackageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the manifest says beside what can be measured on the network."""

    name: str = "realtime-m"
    version: str = "0.1.0"
    description: str = (
        "Denoises single frames of a calibrated microscope camera at camera rate. One network for "
        "every gain and exposure: it works in electrons plus squared read noise."
    )
    training_command: str = ""
    training_steps: int = 0


def export_onnx(network: nn.Module, path: Path) -> None:
    """Write ``network`` as one ONNX file with free N, Y and X and no trace of this machine.

    Raises
    ------
    PackageError
        If the file is larger than ``MAX_ONNX_BYTES``.
    """
    import onnx

    dim = torch.export.Dim
    shapes = {0: dim("n", min=1), 2: STRIDE * dim("ty", min=1), 3: STRIDE * dim("tx", min=1)}
    example = torch.ones(2, 1, 2 * STRIDE, 3 * STRIDE)
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports a missing torchvision
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch's own exporter
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(shapes,),
            verbose=False,
        )
    logging.getLogger("torch.onnx").setLevel(level)
    if program is None:
        raise PackageError(f"{path}: torch exported nothing")
    model = _cleaned(program.model_proto)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    check_size(content, path)
    path.write_bytes(content)


def check_size(content: bytes, path: Path) -> None:
    """Refuse a network too large to be shipped in the repository.

    Raises
    ------
    PackageError
        If it has more than ``MAX_ONNX_BYTES``.
    """
    if len(content) > MAX_ONNX_BYTES:
        raise PackageError(
            f"{path}: {len(content)} bytes, more than {MAX_ONNX_BYTES}", "train fewer channels"
        )


def _cleaned(model: Any) -> Any:  # noqa: ANN401  (onnx has no types)
    """Drop stack traces and other notes of the exporter (they name files of this machine)."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        names = ("n", "", "y", "x")
        for axis, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if name:
                axis.dim_param = name
    return model


def write_package(network: nn.Module, folder: Path, facts: PackageFacts) -> None:
    """Write or replace a model package; the manifest goes last.

    ``README.md`` is written only where there is none: ``tools/model_card.py`` writes the card.

    Raises
    ------
    PackageError
        If ONNX Runtime does not give the network's own output on the test image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.eval()
    export_onnx(network, folder / "model.onnx")
    counts = make_test_counts()
    image = counts * np.float32(DEFAULT_GAIN) + np.float32(DEFAULT_OFFSET)
    with torch.no_grad():
        result = network(torch.from_numpy(image)).numpy()
    _check_parity(folder / "model.onnx", image, result)
    clean = (result - np.float32(DEFAULT_OFFSET)) / np.float32(DEFAULT_GAIN)
    np.save(folder / "test_input.npy", counts, allow_pickle=False)
    np.save(folder / "test_output.npy", clean, allow_pickle=False)
    write_cover(folder / "cover.png", image[0, 0], result[0, 0])
    readme = folder / "README.md"
    if not readme.exists():
        readme.write_text(f"# {facts.name}\n\n{facts.description}\n", encoding="utf-8")
    manifest = build_manifest(network, folder, facts)
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=100)
    (folder / "rdf.yaml").write_text(text, encoding="utf-8")


def make_test_counts() -> FloatArray:
    """Return a small noisy image ``(1, 1, Y, X)``, whole counts of the default camera, float32.

    Discs of 5 to 200 electrons on a background of 3.

    Drawn here, not by ``imaging.scenes``, so that it stays the same whatever scenes become.
    """
    rng = np.random.default_rng(2026)
    rows, columns = np.mgrid[: _TEST_SHAPE[2], : _TEST_SHAPE[3]]
    mean = np.full(_TEST_SHAPE[2:], 3.0)
    for _ in range(14):
        y, x = rng.uniform(0, _TEST_SHAPE[2]), rng.uniform(0, _TEST_SHAPE[3])
        radius, bright = rng.uniform(3, 12), np.exp(rng.uniform(np.log(5), np.log(200)))
        mean += bright / (1 + np.exp((np.hypot(rows - y, columns - x) - radius) / 0.8))
    electrons = rng.poisson(mean) + rng.normal(0, 1.6, mean.shape)
    counts = np.rint(electrons / DEFAULT_GAIN + 100)
    image: FloatArray = counts.astype(np.float32).reshape(_TEST_SHAPE)
    return image


def write_cover(path: Path, noisy: FloatArray, clean: FloatArray) -> None:
    """Write noisy left, clean right, in grey, on a square-root scale of common limits."""
    pair = np.sqrt(np.maximum(np.concatenate([noisy, clean], axis=1), 0))
    scaled = np.clip(pair / np.quantile(pair, 0.998) * 255, 0, 255)
    grey = np.rint(scaled).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    path.write_bytes(imagecodecs.png_encode(grey))


def _check_parity(path: Path, image: FloatArray, expected: FloatArray) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result = session.run([OUTPUT], {INPUT: image})[0]
    difference = float(np.max(np.abs(result - expected) / np.sqrt(np.maximum(expected, 1))))
    if not difference < _PARITY:
        raise PackageError(
            f"{path}: ONNX Runtime differs from torch by {difference:g} noise sd on the test "
            f"image, more than {_PARITY:g}"
        )


def build_manifest(network: nn.Module, folder: Path, facts: PackageFacts) -> dict[str, Any]:
    """Return the manifest (bioimage.io model description 0.5) of a package's files."""
    return {
        "type": "model",
        "format_version": FORMAT_VERSION,
        "name": f"livedenoise {facts.name}",
        "description": facts.description,
        "version": facts.version,
        "license": "BSD-3-Clause",
        "authors": [{"name": "The livedenoise developers"}],
        "cite": [{"text": K_SIGMA_PAPER, "doi": "10.1007/978-3-030-58539-6_1"}],
        "documentation": "README.md",
        "covers": ["cover.png"],
        "tags": ["denoising", "fluorescence-light-microscopy", "2d", "real-time"],
        "inputs": [_describe_input(folder)],
        "outputs": [_describe_output(folder)],
        "weights": {
            "onnx": {
                "source": "model.onnx",
                "sha256": _sha256(folder / "model.onnx"),
                "opset_version": OPSET,
            }
        },
        "config": {"livedenoise": describe_for_engines(network, facts)},
    }


def describe_for_engines(network: nn.Module, facts: PackageFacts) -> dict[str, Any]:
    """Return ``config.livedenoise``: what the engines and the user must know of the network."""
    return {
        "units": UNITS,
        "units_meaning": "electrons + read_noise_e**2 (both over the excess noise factor)",
        "stride": STRIDE,
        "receptive_field_px": receptive_field_px(),
        "kflop_per_px": round(count_kflop_per_px(network), 3),
        "parameters": sum(p.numel() for p in network.parameters()),
        "mean_preserving": True,
        "test_tensors": "counts, before the default affine and after its inverse",
        "electron_range": [PEAK_RANGE_E[0], BRIGHT_RANGE_E[1]],
        "read_noise_range_e": [*READ_NOISE_RANGE_E],
        "training_data": "simulated scenes only",
        "training_steps": facts.training_steps,
        "training_command": facts.training_command,
        "version": facts.version,
    }


def _describe_input(folder: Path) -> dict[str, Any]:
    return {
        "id": INPUT,
        "description": "camera counts; the affine turns them into electrons + read_noise_e**2",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["intensity"]},
            {"type": "space", "id": "y", "size": {"min": STRIDE, "step": STRIDE}},
            {"type": "space", "id": "x", "size": {"min": STRIDE, "step": STRIDE}},
        ],
        "data": {"type": "float32", "range": [None, None]},
        "preprocessing": [_affine(DEFAULT_GAIN, DEFAULT_OFFSET)],
        "test_tensor": _file(folder / "test_input.npy"),
    }


def _describe_output(folder: Path) -> dict[str, Any]:
    return {
        "id": OUTPUT,
        "description": "estimated mean of the input, in counts after the inverse affine",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["intensity"]},
            {"type": "space", "id": "y", "size": {"tensor_id": INPUT, "axis_id": "y"}},
            {"type": "space", "id": "x", "size": {"tensor_id": INPUT, "axis_id": "x"}},
        ],
        "data": {"type": "float32", "range": [None, None]},
        "postprocessing": [_affine(1 / DEFAULT_GAIN, -DEFAULT_OFFSET / DEFAULT_GAIN)],
        "test_tensor": _file(folder / "test_output.npy"),
    }


def _affine(gain: float, offset: float) -> dict[str, Any]:
    return {"id": "scale_linear", "kwargs": {"gain": gain, "offset": offset}}


def _file(path: Path) -> dict[str, str]:
    return {"source": path.name, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
