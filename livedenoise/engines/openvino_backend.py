"""OpenVINO on the CPU: the engine of a machine without a GPU.

Knows: OpenVINO's compiled models, asynchronous requests and options. Must not know: rings, models'
insides, how counts become electrons (that is in the wrapped graph).

- Up to three asynchronous requests. One stream (latency mode) runs them in order of submission.
- Tensors are the caller's own arrays: OpenVINO reads and writes them in place.
- Inference precision is fixed to fp32: left alone, OpenVINO would silently compute in bf16 on
  processors that have it.
- Importing the package ``openvino`` sends a usage event to its vendor from a thread, and writes an
  identifier into the home folder, through its model converter. A camera's computer must not call
  home: ``import_openvino`` leaves the converter out (which also halves the import time).
- The compiled model is exported to the engine cache as one blob, keyed by everything it depends on.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections import deque
from dataclasses import dataclass
from math import ceil
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from livedenoise.core.clock import now_ns
from livedenoise.core.engine import MAX_IN_FLIGHT, Done, EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import DenoiseError
from livedenoise.core.frame import Frame
from livedenoise.core.log import get_logger
from livedenoise.engines.cache import EngineCache, cache_key
from livedenoise.engines.flight import (
    Flight,
    check_frame,
    choose_threads,
    done_of,
    request_problem,
)
from livedenoise.engines.graph import GRAPH_VERSION, constant_inputs, spec_of, wrap_network
from livedenoise.engines.package import ModelPackage, read_package

_CONVERTER = "openvino.tools.ovc"
_log = get_logger(__name__)


@dataclass
class _Lane:
    """One asynchronous request and the frame it works on."""

    request: Any
    constants: dict[str, npt.NDArray[np.float32]]
    flight: Flight | None = None


def import_openvino() -> ModuleType:
    """Return the package ``openvino``, imported without its model converter (see above).

    The converter can still be imported by whoever wants it: ``openvino.tools.ovc``.
    """
    if "openvino" in sys.modules or _CONVERTER in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]  # makes its import an ImportError
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_CONVERTER]


class OpenVinoEngine:
    """A model package compiled by OpenVINO for one frame shape."""

    name = "openvino"

    def __init__(self) -> None:
        self._request: ServeRequest | None = None
        self._idle: deque[_Lane] = deque()
        self._busy: deque[_Lane] = deque()
        self._last_end_ns = 0

    def unsupported(self, request: ServeRequest) -> str | None:
        """Return why the request cannot be served, else None."""
        if importlib.util.find_spec("openvino") is None:
            return "OpenVINO is not installed: pip install openvino"
        if request.package is None:
            return "no model package is named"
        return request_problem(request)

    def open(self, request: ServeRequest) -> EngineInfo:
        """Load from the cache or compile, then run once.

        Raises
        ------
        PackageError
            If the package does not fit.
        DenoiseError
            If the request is not supported, or OpenVINO cannot load or run the network.
        """
        problem = "it is open already" if self._request is not None else self.unsupported(request)
        if problem is not None or request.package is None:
            raise DenoiseError(f"openvino: {problem}")
        start = now_ns()
        package = read_package(request.package)
        loader = _Loader(request, package)
        try:
            compiled = loader.load()
            lanes = [_make_lane(compiled, request) for _ in range(MAX_IN_FLIGHT)]
            _warm_up(lanes[0], request)
        except RuntimeError as error:
            raise DenoiseError(
                f"openvino cannot run {package.onnx_path}: {_first_line(error)}"
            ) from error
        self._request, self._last_end_ns = request, 0
        self._idle.extend(lanes)
        return EngineInfo(
            engine=self.name,
            version=loader.version.split("-", maxsplit=1)[0],
            precision="fp32",
            device=loader.device,
            model=package.name,
            model_hash=package.hash,
            in_flight=MAX_IN_FLIGHT,
            open_ms=(now_ns() - start) * 1e-6,
            cached=loader.cached,
            notes=tuple(loader.notes),
        )

    def submit(self, frame: FrameView, out: Frame, *, reset: bool) -> None:  # noqa: ARG002
        """Start on a frame; single-frame networks have no temporal state to reset.

        Raises
        ------
        DenoiseError
            If the frame is not what was asked for, or three are in flight.
        """
        if self._request is None:
            raise DenoiseError(f"frame {frame.seq}: the engine is not open")
        check_frame(self._request, frame, out, len(self._busy))
        lane = self._idle[0]
        flight = Flight(seq=frame.seq, pixels=frame.pixels, out=out, t_submit_ns=now_ns())
        try:
            lane.request.set_tensor("frame", _shared_tensor(frame.pixels))
            lane.request.set_tensor("out", _shared_tensor(out))
            lane.request.start_async(userdata=flight)
        except RuntimeError as error:
            raise DenoiseError(f"frame {frame.seq}: openvino: {_first_line(error)}") from error
        lane.flight = flight
        self._busy.append(self._idle.popleft())

    def poll(self, timeout_s: float) -> Done | None:
        """Return the oldest frame once finished; None after ``timeout_s``, or if none is there."""
        if not self._busy:
            return None
        lane = self._busy[0]
        error = ""
        try:
            if not lane.request.wait_for(ceil(timeout_s * 1000)):
                return None
        except RuntimeError as problem:
            error = f"openvino: {_first_line(problem)}"
        self._idle.append(self._busy.popleft())
        return self._finish(lane, error)

    def close(self) -> None:
        """Finish what is in flight and release everything. Idempotent."""
        while self._busy:
            done = self.poll(1.0)
            if done is not None and done.error:
                _log.warning("frame %d, finished on closing: %s", done.seq, done.error)
        self._idle.clear()
        self._request = None

    def _finish(self, lane: _Lane, error: str) -> Done:
        flight, lane.flight = lane.flight, None
        if flight is None:
            raise DenoiseError("openvino: a busy request has no frame")
        # OpenVINO does not call back on errors; and a queued frame starts when the last one ends.
        flight.t_end_ns = flight.t_end_ns or now_ns()
        t_start_ns = max(flight.t_submit_ns, self._last_end_ns)
        self._last_end_ns = flight.t_end_ns
        if error:
            return Done(
                seq=flight.seq, t_start_ns=t_start_ns, t_end_ns=flight.t_end_ns, error=error
            )
        integer = np.dtype(flight.out.dtype).kind == "u"
        clipped = lane.request.get_tensor("row_clipped").data if integer else None
        return done_of(flight, t_start_ns, lane.request.get_tensor("row_sums").data, clipped)


class _Loader:
    """Gets the compiled model from the cache, or compiles and keeps it."""

    def __init__(self, request: ServeRequest, package: ModelPackage) -> None:
        openvino = import_openvino()
        self._package = package
        self._spec = spec_of(request)
        self._core = openvino.Core()
        threads = choose_threads(request.threads)
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            # Other stages share the processors: pinned threads would wait behind them.
            "ENABLE_CPU_PINNING": False,
        }
        self.version = str(openvino.get_version())
        self.device = str(self._core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        self.cached = False
        self.notes: list[str] = []
        self._cache = EngineCache(request.cache_dir)
        self._key = cache_key(
            model=package.sha256,
            graph=GRAPH_VERSION,
            stride=package.stride,
            runtime=f"openvino {self.version}",
            device=self.device,
            spec=self._spec,
            options=self._options,
        )

    def load(self) -> Any:  # noqa: ANN401  (OpenVINO's types exist only where it is installed)
        """Return the compiled model.

        Raises
        ------
        RuntimeError
            If OpenVINO refuses the network.
        """
        blob = self._cache.load(self._key)
        if blob is not None:
            try:
                compiled = self._core.import_model(blob, "CPU", self._options)
            except RuntimeError as error:
                self._cache.discard(self._key, _first_line(error))
            else:
                self.cached = True
                self._cache.touch(self._key)
                return compiled
        return self._compile()

    def _compile(self) -> Any:  # noqa: ANN401
        wrapped = wrap_network(self._package, self._spec)
        model = self._core.read_model(wrapped, b"")
        compiled = self._core.compile_model(model, "CPU", self._options)
        exported = compiled.export_model()
        blob = exported if isinstance(exported, bytes) else exported.getvalue()
        note = self._cache.store(self._key, blob)
        if note:
            self.notes.append(note)
        return compiled


class _Memory:
    """An array's memory without its owner, for ``numpy.asarray``."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self.__array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
        }


def _shared_tensor(array: npt.NDArray[Any]) -> Any:  # noqa: ANN401
    """Return an OpenVINO tensor over an array's own memory.

    OpenVINO refuses read-only arrays even as inputs, and an idle request would go on referring to
    the last frame, so that its shared memory could not be closed. Hence a tensor over the bare
    memory; ``Flight`` keeps the array alive as long as the request works on it.
    """
    return import_openvino().Tensor(np.asarray(_Memory(array)), shared_memory=True)


def _make_lane(compiled: Any, request: ServeRequest) -> _Lane:  # noqa: ANN401
    lane = _Lane(request=compiled.create_infer_request(), constants=constant_inputs(request))
    for name, value in lane.constants.items():
        lane.request.set_tensor(name, _shared_tensor(value))
    lane.request.set_callback(_stamp, None)
    return lane


def _stamp(flight: Flight | None) -> None:
    """Note the end of an inference; called by OpenVINO's own thread."""
    if flight is not None:
        flight.t_end_ns = now_ns()


def _warm_up(lane: _Lane, request: ServeRequest) -> None:
    pixels = np.zeros(request.shape, dtype=request.dtype)
    out = np.empty(request.shape, dtype=request.out_dtype)
    lane.request.set_tensor("frame", _shared_tensor(pixels))
    lane.request.set_tensor("out", _shared_tensor(out))
    lane.request.infer()


def _first_line(error: Exception) -> str:
    """Return the line of an OpenVINO message that says what went wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.removeprefix("Caught e").startswith("Exception")]
    return next(iter(telling or lines), repr(error))
