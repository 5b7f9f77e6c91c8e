"""Which engine serves a request: by name, or the first of a visible chain that can.

Knows: the engines' names and their order. Must not know: how any of them works.

``auto`` tries OpenVINO, then ONNX Runtime; never identity, and never silently: ``EngineInfo.notes``
says why an earlier one was refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from livedenoise.core.engine import Done, Engine, EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import ConfigError, DenoiseError
from livedenoise.core.frame import Frame
from livedenoise.engines.identity import IdentityEngine
from livedenoise.engines.onnxruntime_backend import OnnxRuntimeEngine
from livedenoise.engines.openvino_backend import OpenVinoEngine

AUTO = "auto"
ENGINES: dict[str, type[Engine]] = {
    "identity": IdentityEngine,
    "openvino": OpenVinoEngine,
    "onnxruntime": OnnxRuntimeEngine,
}
CHAIN = ("openvino", "onnxruntime")
"""Engines ``auto`` tries, in this order."""


def choose_engine(name: str, request: ServeRequest) -> Engine:
    """Return an engine for a request, not yet open.

    Raises
    ------
    ConfigError
        If the name is unknown or no engine can serve the request: with the reason of each.
    """
    if name != AUTO and name not in ENGINES:
        raise ConfigError(f"engine {name!r} is not known", f"choose {AUTO}, {', '.join(ENGINES)}")
    able: list[tuple[str, Engine]] = []
    refused: list[str] = []
    for candidate in CHAIN if name == AUTO else (name,):
        engine = ENGINES[candidate]()
        reason = engine.unsupported(request)
        if reason is None:
            able.append((candidate, engine))
        elif not able:
            # Only what was wanted more and cannot be had is news.
            refused.append(f"{candidate}: {reason}")
    if not able:
        raise ConfigError(f"no engine can serve this: {'; '.join(refused)}")
    return able[0][1] if name != AUTO else AutoEngine(able, refused)


class AutoEngine:
    """The first engine of a chain that opens.

    Parameters
    ----------
    candidates : sequence of (str, Engine)
        Names and engines, in order of preference.
    refused : sequence of str
        Why engines before them were left out; becomes part of the notes.
    """

    def __init__(self, candidates: Sequence[tuple[str, Engine]], refused: Sequence[str]) -> None:
        self._candidates = tuple(candidates)
        self._refused = tuple(refused)
        self._engine: Engine | None = None

    def unsupported(self, request: ServeRequest) -> str | None:
        """Return why no candidate can serve the request, else None."""
        reasons = [f"{name}: {e.unsupported(request)}" for name, e in self._candidates]
        able = any(e.unsupported(request) is None for _, e in self._candidates)
        return None if able else "; ".join((*self._refused, *reasons))

    def open(self, request: ServeRequest) -> EngineInfo:
        """Open the first candidate that can be opened.

        Raises
        ------
        PackageError
            If the package does not fit: no engine could serve it.
        DenoiseError
            If none can be opened; with the reason of each.
        """
        reasons = list(self._refused)
        for name, engine in self._candidates:
            try:
                info = engine.open(request)
            except DenoiseError as error:
                reasons.append(f"{name}: {error}")
                continue
            self._engine = engine
            notes = tuple(f"not {reason}" for reason in reasons)
            return msgspec.structs.replace(info, notes=(*notes, *info.notes))
        raise DenoiseError(f"no engine could be opened: {'; '.join(reasons)}")

    def submit(self, frame: FrameView, out: Frame, *, reset: bool) -> None:
        """Start on a frame.

        Raises
        ------
        DenoiseError
            If the frame cannot be taken.
        """
        if self._engine is None:
            raise DenoiseError(f"frame {frame.seq}: the engine is not open")
        self._engine.submit(frame, out, reset=reset)

    def poll(self, timeout_s: float) -> Done | None:
        """Return the oldest submitted frame once finished, or None after ``timeout_s``."""
        return None if self._engine is None else self._engine.poll(timeout_s)

    def close(self) -> None:
        """Close the engine in use. Idempotent."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
