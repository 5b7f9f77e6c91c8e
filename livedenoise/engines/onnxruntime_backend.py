"""ONNX Runtime on the CPU: the second engine, optional.

Knows: ONNX Runtime sessions and bindings; one worker thread with a bounded queue. Must not know:
rings, models' insides, how counts become electrons (that is in the wrapped graph).

The caller's arrays are bound by address: nothing is copied. What the cache keeps is the wrapped
graph; the session optimises it on every start.
"""

from __future__ import annotations

import importlib.util
import threading
from collections import deque
from dataclasses import dataclass, field
from queue import Queue
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

_log = get_logger(__name__)


@dataclass
class _Job:
    """A frame on its way through the worker."""

    flight: Flight
    t_start_ns: int = 0
    done: Done | None = None
    finished: threading.Event = field(default_factory=threading.Event)


class OnnxRuntimeEngine:
    """A model package run by ONNX Runtime for one frame shape."""

    name = "onnxruntime"

    def __init__(self) -> None:
        self._request: ServeRequest | None = None
        self._runner: _Runner | None = None
        self._jobs: deque[_Job] = deque()

    def unsupported(self, request: ServeRequest) -> str | None:
        """Return why the request cannot be served, else None."""
        if importlib.util.find_spec("onnxruntime") is None:
            return 'ONNX Runtime is not installed: pip install "livedenoise[onnxruntime]"'
        if request.package is None:
            return "no model package is named"
        return request_problem(request)

    def open(self, request: ServeRequest) -> EngineInfo:
        """Load the wrapped graph, start the worker, run once.

        Raises
        ------
        PackageError
            If the package does not fit.
        DenoiseError
            If the request is not supported, or ONNX Runtime cannot load or run the network.
        """
        problem = "it is open already" if self._request is not None else self.unsupported(request)
        if problem is not None or request.package is None:
            raise DenoiseError(f"onnxruntime: {problem}")
        start = now_ns()
        package = read_package(request.package)
        import onnxruntime

        content, cached, notes = _wrapped(request, package)
        try:
            session = _make_session(content, request)
            runner = _Runner(session, request)
            runner.warm_up()
        except _runtime_errors() as error:
            raise DenoiseError(
                f"onnxruntime cannot run {package.onnx_path}: {_first_line(error)}"
            ) from error
        runner.start()
        self._request, self._runner = request, runner
        return EngineInfo(
            engine=self.name,
            version=str(onnxruntime.__version__),
            precision="fp32",
            device="CPU",
            model=package.name,
            model_hash=package.hash,
            in_flight=MAX_IN_FLIGHT,
            open_ms=(now_ns() - start) * 1e-6,
            cached=cached,
            notes=notes,
        )

    def submit(self, frame: FrameView, out: Frame, *, reset: bool) -> None:  # noqa: ARG002
        """Hand a frame to the worker; single-frame networks have no temporal state to reset.

        Raises
        ------
        DenoiseError
            If the frame is not what was asked for, or three are in flight.
        """
        if self._request is None or self._runner is None:
            raise DenoiseError(f"frame {frame.seq}: the engine is not open")
        check_frame(self._request, frame, out, len(self._jobs))
        flight = Flight(seq=frame.seq, pixels=frame.pixels, out=out, t_submit_ns=now_ns())
        job = _Job(flight)
        self._jobs.append(job)
        self._runner.queue.put_nowait(job)

    def poll(self, timeout_s: float) -> Done | None:
        """Return the oldest frame once finished; None after ``timeout_s``, or if none is there."""
        if not self._jobs or not self._jobs[0].finished.wait(timeout_s):
            return None
        return self._jobs.popleft().done

    def close(self) -> None:
        """Finish what is in flight, end the worker, release everything. Idempotent."""
        if self._runner is not None:
            self._runner.stop()
            self._runner = None
        for job in self._jobs:
            if job.done is not None and job.done.error:
                _log.warning("frame %d, finished on closing: %s", job.done.seq, job.done.error)
        self._jobs.clear()
        self._request = None


class _Runner:
    """The session, its binding and the thread that runs it."""

    def __init__(self, session: Any, request: ServeRequest) -> None:  # noqa: ANN401
        self.queue: Queue[_Job | None] = Queue(maxsize=MAX_IN_FLIGHT + 1)
        self._session = session
        self._binding = session.io_binding()
        self._request = request
        rows = request.shape[0]
        integer = np.dtype(request.out_dtype).kind == "u"
        self._row_sums = np.zeros(rows, dtype=np.float32)
        self._row_clipped = np.zeros(rows, dtype=np.float32) if integer else None
        self._constants = constant_inputs(request)
        for name, value in self._constants.items():
            _bind(self._binding.bind_input, name, value)
        _bind(self._binding.bind_output, "row_sums", self._row_sums)
        if self._row_clipped is not None:
            _bind(self._binding.bind_output, "row_clipped", self._row_clipped)
        self._thread = threading.Thread(target=self._work, name="onnxruntime", daemon=True)

    def warm_up(self) -> None:
        """Run once on zeros."""
        pixels = np.zeros(self._request.shape, dtype=self._request.dtype)
        self._infer(pixels, np.empty(self._request.shape, dtype=self._request.out_dtype))

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def stop(self) -> None:
        """Let the worker finish what it was given and end."""
        self.queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        for job in iter(self.queue.get, None):
            job.t_start_ns = now_ns()
            try:
                self._infer(job.flight.pixels, job.flight.out)
            except Exception as error:  # noqa: BLE001  (reported with the frame, whatever it is)
                job.done = self._failed(job, f"onnxruntime: {_first_line(error)}")
            else:
                job.flight.t_end_ns = now_ns()
                job.done = done_of(job.flight, job.t_start_ns, self._row_sums, self._row_clipped)
            job.finished.set()

    def _failed(self, job: _Job, error: str) -> Done:
        return Done(seq=job.flight.seq, t_start_ns=job.t_start_ns, t_end_ns=now_ns(), error=error)

    def _infer(self, pixels: Frame, out: Frame) -> None:
        _bind(self._binding.bind_input, "frame", pixels)
        _bind(self._binding.bind_output, "out", out)
        self._session.run_with_iobinding(self._binding)


def _bind(bind: Any, name: str, array: npt.NDArray[Any]) -> None:  # noqa: ANN401
    """Bind an array by address: its owner keeps it alive until the run is over."""
    bind(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)


def _wrapped(request: ServeRequest, package: ModelPackage) -> tuple[bytes, bool, tuple[str, ...]]:
    """Return the wrapped graph, whether it came from the cache, and notes."""
    spec, cache = spec_of(request), EngineCache(request.cache_dir)
    key = cache_key(
        model=package.sha256,
        graph=GRAPH_VERSION,
        stride=package.stride,
        runtime="wrapped onnx",
        spec=spec,
    )
    content = cache.load(key)
    if content is not None:
        cache.touch(key)
        return content, True, ()
    content = wrap_network(package, spec)
    note = cache.store(key, content)
    return content, False, (note,) if note else ()


def _make_session(content: bytes, request: ServeRequest) -> Any:  # noqa: ANN401
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = choose_threads(request.threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # failures come back as exceptions
    # Threads that spin between frames would take the processors from camera and recorder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which have no common base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type)]
    return (RuntimeError, *(kind for kind in own if issubclass(kind, Exception)))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), repr(error))
