"""Imports an engine will need, done early: while the camera gets ready, so that nobody waits."""

from __future__ import annotations

import importlib
import importlib.util

from livedenoise.engines.openvino_backend import import_openvino


def warm_up_imports(engine: str) -> None:
    """Import what ``engine`` will import; what is not installed is left for it to report."""
    if engine == "identity":
        return
    _import_if_there("onnx")
    if engine == "onnxruntime":
        _import_if_there("onnxruntime")
    elif importlib.util.find_spec("openvino") is not None:
        import_openvino()


def _import_if_there(module: str) -> None:
    if importlib.util.find_spec(module) is not None:
        importlib.import_module(module)
