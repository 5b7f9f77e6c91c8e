"""The engine without a model: counts out are counts in.

For tests, for measuring everything around an engine, and for runs without denoising. It is never
chosen automatically. Knows: copying. Must not know: models, units.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from livedenoise import __version__
from livedenoise.core.clock import now_ns
from livedenoise.core.engine import MAX_IN_FLIGHT, Done, EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import DenoiseError
from livedenoise.core.frame import Frame
from livedenoise.engines.flight import check_frame, request_problem


class IdentityEngine:
    """Copies the frame; integer counts may come out as float32."""

    name = "identity"

    def __init__(self) -> None:
        self._request: ServeRequest | None = None
        self._done: deque[Done] = deque()

    def unsupported(self, request: ServeRequest) -> str | None:
        """Return why the request cannot be served, else None."""
        problem = request_problem(request)
        if problem is None and request.out_dtype not in (request.dtype, "<f4"):
            return f"identity cannot turn {request.dtype!r} into {request.out_dtype!r}"
        return problem

    def open(self, request: ServeRequest) -> EngineInfo:
        """Take the request; there is nothing to load.

        Raises
        ------
        DenoiseError
            If the request is not supported.
        """
        problem = self.unsupported(request)
        if problem is not None:
            raise DenoiseError(f"identity: {problem}")
        start = now_ns()
        self._request = request
        return EngineInfo(
            engine=self.name,
            version=__version__,
            precision="none",
            device="CPU",
            model="",
            model_hash="",
            in_flight=MAX_IN_FLIGHT,
            open_ms=(now_ns() - start) * 1e-6,
        )

    def submit(self, frame: FrameView, out: Frame, *, reset: bool) -> None:  # noqa: ARG002
        """Copy the frame; there is no temporal state to reset.

        Raises
        ------
        DenoiseError
            If the frame is not what was asked for, or three are in flight.
        """
        if self._request is None:
            raise DenoiseError(f"frame {frame.seq}: the engine is not open")
        check_frame(self._request, frame, out, len(self._done))
        start = now_ns()
        np.copyto(out, frame.pixels)
        self._done.append(Done(seq=frame.seq, t_start_ns=start, t_end_ns=now_ns()))

    def poll(self, timeout_s: float) -> Done | None:  # noqa: ARG002
        """Return the oldest frame; copies are finished when submitted."""
        return self._done.popleft() if self._done else None

    def close(self) -> None:
        """Forget everything. Idempotent."""
        self._request = None
        self._done.clear()
