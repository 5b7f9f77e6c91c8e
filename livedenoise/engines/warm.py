"""Imports an engine will need, done early: while the camera gets ready, so that nobody waits."""

from __future__ import annotations

import importlib
import importlib.util

_NEEDED = {
    "auto": ("onnx", "openvino"),
    "openvino": ("onnx", "openvino"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "identity": (),
}


def warm_up_imports(engine: str) -> None:
    """Import what ``engine`` will import; what is not installed is left for it to report."""
    for module in _NEEDED.get(engine, ()):
        if importlib.util.find_spec(module) is not None:
            importlib.import_module(module)
