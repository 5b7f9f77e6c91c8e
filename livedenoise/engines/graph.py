"""The graph every runtime executes: counts in, counts out, around a camera-free network.

Knows: ONNX, and how counts become network units and back (``imaging.transforms`` states the same
formulae for arrays). One wrapped graph serves OpenVINO and ONNX Runtime alike.
Must not know: runtimes, files of a cache, threads.

Inputs
    ``frame`` (Y, X) of the camera's type; ``forward_scale`` and ``forward_shift`` float32, () or,
    with per-pixel maps, (Y, X); ``scale`` and ``shift`` float32 ().
Outputs
    ``out`` (Y, X) counts; ``row_sums`` float32 (Y,): sums of the counts before rounding, which are
    finite exactly when every pixel is (to detect NaN costs one reduction and no mask); for
    integers ``row_clipped`` float32 (Y,): pixels of the row that lay outside the range.

The camera's constants and maps are inputs, not part of the graph: one compiled engine serves every
gain and calibration of the same shape, and a new calibration compiles nothing.

    u = frame * forward_scale + forward_shift      (fp32)
    edge-pad at the bottom and right to the stride, network, crop
    c = (u' - shift) / scale                       (fp32)
    out = cast(clip(round half to even(c), 0, 2**bit_depth - 1))

The clip precedes the cast, since what a runtime makes of a value outside the type differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.engine import ServeRequest
from livedenoise.core.errors import PackageError
from livedenoise.core.frame import max_count
from livedenoise.engines.package import ModelPackage
from livedenoise.imaging.transforms import CountsTransform

if TYPE_CHECKING:
    from onnx import ModelProto

GRAPH_VERSION = 1
"""Raised whenever the wrapped graph changes: part of the key of every cached engine."""

_LOWEST_OPSET = 13
_P = "livedenoise/"
FloatArray = npt.NDArray[np.float32]


class GraphSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a wrapped graph depends on beside the network. Shapes are (Y, X)."""

    shape: tuple[int, int]
    dtype: str
    out_dtype: str
    bit_depth: int
    with_maps: bool

    @property
    def has_range(self) -> bool:
        """Return whether outputs are integers: rounded, clipped and counted."""
        return np.dtype(self.out_dtype).kind == "u"


def spec_of(request: ServeRequest) -> GraphSpec:
    """Return the graph a request needs."""
    return GraphSpec(
        shape=request.shape,
        dtype=request.dtype,
        out_dtype=request.out_dtype,
        bit_depth=request.bit_depth,
        with_maps=request.maps is not None,
    )


def constant_inputs(request: ServeRequest) -> dict[str, FloatArray]:
    """Return the graph's inputs beside ``frame``, fixed while the engine is open."""
    transform = CountsTransform(request.constants, request.maps)
    values = {
        "forward_scale": transform.forward_scale,
        "forward_shift": transform.forward_shift,
        "scale": transform.scale,
        "shift": transform.shift,
    }
    return {name: np.array(value, dtype=np.float32, order="C") for name, value in values.items()}


def wrap_network(package: ModelPackage, spec: GraphSpec) -> bytes:
    """Return the serialised ONNX graph that takes and gives counts.

    Raises
    ------
    PackageError
        If the network's operator set is too old.
    """
    import onnx
    from onnx import compose

    core = onnx.load_model(package.onnx_path)
    opset = max((entry.version for entry in core.opset_import if not entry.domain), default=0)
    if opset < _LOWEST_OPSET:
        raise PackageError(
            f"{package.onnx_path}: operator set {opset}, needs at least {_LOWEST_OPSET}",
            "export the network again",
        )
    model = compose.add_prefix(core, "core/")
    builder = _Builder(model, spec)
    builder.enter(package.stride)
    builder.leave()
    content: bytes = model.SerializeToString()
    return content


class _Builder:
    """Puts nodes before and behind the network of ``model``, which it changes."""

    def __init__(self, model: ModelProto, spec: GraphSpec) -> None:
        self._graph = model.graph
        self._spec = spec
        self._core_nodes = list(model.graph.node)
        constants = {tensor.name for tensor in model.graph.initializer}
        inputs = [v.name for v in model.graph.input if v.name not in constants]
        self._core_in, self._core_out = inputs[0], model.graph.output[0].name
        del self._graph.node[:]
        del self._graph.value_info[:]
        del self._graph.input[:]
        del self._graph.output[:]

    def enter(self, stride: tuple[int, int]) -> None:
        """Build counts -> padded network units; then the network itself."""
        spec = self._spec
        map_shape = spec.shape if spec.with_maps else ()
        self._declare("input", "frame", spec.dtype, spec.shape)
        for name in ("forward_scale", "forward_shift"):
            self._declare("input", name, "<f4", map_shape)
        for name in ("scale", "shift"):
            self._declare("input", name, "<f4", ())
        value = self._cast("frame", "<f4", _P + "counts")
        value = self._node("Mul", [value, "forward_scale"], _P + "scaled")
        value = self._node("Add", [value, "forward_shift"], _P + "u")
        value = self._node("Unsqueeze", [value, self._ints("lead_axes", [0, 1])], _P + "u4")
        pads = [-size % step for size, step in zip(spec.shape, stride, strict=True)]
        if any(pads):
            amounts = self._ints("pads", [0, 0, 0, 0, 0, 0, *pads])
            value = self._node("Pad", [value, amounts], _P + "padded", mode="edge")
        self._node("Identity", [value], self._core_in)
        self._graph.node.extend(self._core_nodes)

    def leave(self) -> None:
        """Build cropped network units -> counts, and the two checks."""
        spec = self._spec
        bounds = [self._ints(name, list(v)) for name, v in self._crop().items()]
        value = self._node("Slice", [self._core_out, *bounds], _P + "cropped")
        value = self._node("Reshape", [value, self._ints("shape", [*spec.shape])], _P + "plane")
        value = self._node("Sub", [value, "shift"], _P + "unshifted")
        counts = self._node("Div", [value, "scale"], _P + "denoised")
        self._sum_rows(counts, "row_sums")
        if not spec.has_range:
            self._node("Identity", [counts], "out")
        else:
            self._quantise(counts)
        self._declare("output", "out", spec.out_dtype, spec.shape)

    def _quantise(self, counts: str) -> None:
        low, high = self._float("low", 0.0), self._float("high", max_count(self._spec.bit_depth))
        rounded = self._node("Round", [counts], _P + "rounded")
        clipped = self._node("Clip", [rounded, low, high], _P + "clipped")
        same = self._node("Equal", [rounded, clipped], _P + "same")
        outside = self._node("Not", [same], _P + "outside")
        self._sum_rows(self._cast(outside, "<f4", _P + "outside_f4"), "row_clipped")
        self._cast(clipped, self._spec.out_dtype, "out")

    def _crop(self) -> dict[str, tuple[int, ...]]:
        rows, columns = self._spec.shape
        return {"starts": (0, 0), "ends": (rows, columns), "axes": (2, 3)}

    def _sum_rows(self, value: str, name: str) -> None:
        self._node("ReduceSum", [value, self._ints(f"{name}_axis", [1])], name, keepdims=0)
        self._declare("output", name, "<f4", self._spec.shape[:1])

    def _cast(self, value: str, dtype: str, name: str) -> str:
        return self._node("Cast", [value], name, to=_onnx_type(dtype))

    def _node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:  # noqa: ANN401
        from onnx import helper

        node = helper.make_node(kind, inputs, [name], name=_P + name.removeprefix(_P), **attributes)
        self._graph.node.append(node)
        return name

    def _ints(self, name: str, values: list[int]) -> str:
        return self._constant(name, np.array(values, dtype=np.int64))

    def _float(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, dtype=np.float32))

    def _constant(self, name: str, values: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(values, _P + name))
        return _P + name

    def _declare(self, end: str, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        from onnx import helper

        value = helper.make_tensor_value_info(name, _onnx_type(dtype), shape)
        getattr(self._graph, end).append(value)


def _onnx_type(dtype: str) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
