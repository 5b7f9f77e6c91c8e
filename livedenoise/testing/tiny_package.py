"""Small model packages for tests, built without torch: each has one thing to try.

Networks (``kind``), all with receptive fields and costs of a few pixels and operations:

- ``conv``: PixelUnshuffle, two 3 x 3 convolutions with fixed random weights, PixelShuffle, added
  to the input;
- ``mean``: a binomial blur and a mean over cells, a doubly stochastic matrix: the sum over the
  image is kept exactly where its sides are multiples of the stride;
- ``identity``: gives back what it gets;
- ``nan``: identity, but NaN where ``u`` is above ``LIMIT_U``;
- ``raise``: identity, but the runtime fails on a frame with any ``u`` above ``LIMIT_U``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

Kind = Literal["conv", "mean", "identity", "nan", "raise"]

LIMIT_U = 50_000.0
"""Network units above which ``nan`` and ``raise`` fail."""

OPSET = 18
_HIDDEN = 8


def write_tiny_package(
    folder: Path,
    kind: Kind = "conv",
    *,
    stride: int = 4,
    channels: int = 1,
    sha256: str | None = None,
    foreign: bool = False,
    section: dict[str, Any] | None = None,
) -> Path:
    """Write a model package and return its folder.

    Parameters
    ----------
    folder : Path
        Where; made if need be.
    kind : str
        Which network.
    stride : int
        Cell of PixelUnshuffle, pixels.
    channels : int
        Channels of input and output; other than 1 is what packages must not have.
    sha256 : str, optional
        Written into the manifest instead of the true hash.
    foreign : bool
        Leave out ``config.livedenoise``.
    section : dict, optional
        Keys of ``config.livedenoise`` to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = build_network(kind, stride, channels)
    content = model.SerializeToString(deterministic=True)
    (folder / "model.onnx").write_bytes(content)
    values = {
        "units": "k-sigma",
        "stride": [stride, stride],
        "receptive_field_px": receptive_field_px(kind, stride),
        "kflop_per_px": 0.1,
        "electron_range": [0.3, 3000.0],
    }
    manifest = {
        "type": "model",
        "format_version": "0.5.4",
        "name": f"tiny-{kind}",
        "weights": {
            "onnx": {
                "source": "model.onnx",
                "sha256": sha256 or hashlib.sha256(content).hexdigest(),
                "opset_version": OPSET,
            }
        },
        "config": {} if foreign else {"livedenoise": values | (section or {})},
    }
    (folder / "rdf.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False), encoding="utf-8")
    return folder


def receptive_field_px(kind: Kind, stride: int) -> int:
    """Return how far an output pixel of a network can see along one axis."""
    if kind == "conv":
        return 2 * stride + stride - 1
    return stride if kind == "mean" else 0


def build_network(kind: Kind, stride: int = 4, channels: int = 1) -> ModelProto:
    """Return one network: float32 (N, channels, Y, X) ``u`` -> the same shape ``mean_u``."""
    nodes, constants = _LAYERS[kind](stride)
    shape: list[str | int | None] = ["n", channels, "y", "x"]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("mean_u", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    checker.check_model(model)
    return model


Constants = dict[str, npt.NDArray[Any]]
Layers = tuple[list[NodeProto], Constants]


def _conv(stride: int) -> Layers:
    rng = np.random.default_rng(7)
    cell = stride * stride
    constants = {
        "w1": rng.normal(0, 0.1 / stride, (_HIDDEN, cell, 3, 3)).astype(np.float32),
        "b1": rng.normal(0, 0.1, _HIDDEN).astype(np.float32),
        "w2": rng.normal(0, 0.05, (cell, _HIDDEN, 3, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("SpaceToDepth", ["u"], ["cells"], blocksize=stride),
        helper.make_node("Conv", ["cells", "w1", "b1"], ["hidden"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Conv", ["active", "w2"], ["residual"], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["residual"], ["change"], blocksize=stride, mode="DCR"),
        helper.make_node("Add", ["u", "change"], ["mean_u"]),
    ]
    return nodes, constants


def _mean(stride: int) -> Layers:
    row = np.array([0.25, 0.5, 0.25], dtype=np.float32)
    cell = stride * stride
    mix = np.full((cell, cell), 0.5 / cell, dtype=np.float32) + 0.5 * np.eye(cell, dtype=np.float32)
    constants: Constants = {
        "around": np.array([0, 0, 1, 1, 0, 0, 1, 1], dtype=np.int64),
        "binomial": np.outer(row, row).reshape(1, 1, 3, 3),
        "mix": mix.reshape(cell, cell, 1, 1),
    }
    nodes = [
        helper.make_node("Pad", ["u", "around"], ["wide"], mode="edge"),
        helper.make_node("Conv", ["wide", "binomial"], ["blurred"]),
        helper.make_node("SpaceToDepth", ["blurred"], ["cells"], blocksize=stride),
        helper.make_node("Conv", ["cells", "mix"], ["mixed"]),
        helper.make_node("DepthToSpace", ["mixed"], ["mean_u"], blocksize=stride, mode="DCR"),
    ]
    return nodes, constants


def _identity(stride: int) -> Layers:  # noqa: ARG001
    return [helper.make_node("Identity", ["u"], ["mean_u"])], {}


def _nan(stride: int) -> Layers:  # noqa: ARG001
    constants: Constants = {
        "limit": np.array(LIMIT_U, np.float32),
        "tiny": np.array(1e-12, np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["limit", "u"], ["left"]),
        helper.make_node("Sqrt", ["left"], ["root"]),  # NaN above the limit
        helper.make_node("Mul", ["root", "tiny"], ["nothing"]),
        helper.make_node("Add", ["u", "nothing"], ["mean_u"]),
    ]
    return nodes, constants


def _raise(stride: int) -> Layers:  # noqa: ARG001
    constants: Constants = {"limit": np.array(LIMIT_U, dtype=np.float32)}
    nodes = [
        helper.make_node("ReduceMax", ["u"], ["highest"], keepdims=0),
        helper.make_node("Greater", ["highest", "limit"], ["above"]),
        helper.make_node("Cast", ["above"], ["one_more"], to=TensorProto.INT64),
        helper.make_node("Shape", ["u"], ["shape"]),
        helper.make_node("Add", ["shape", "one_more"], ["wrong_shape"]),
        helper.make_node("Reshape", ["u", "wrong_shape"], ["mean_u"]),
    ]
    return nodes, constants


_LAYERS = {"conv": _conv, "mean": _mean, "identity": _identity, "nan": _nan, "raise": _raise}
