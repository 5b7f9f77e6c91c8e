"""Every engine against the conformance kit, and the engines against each other."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest

from livedenoise.core.engine import Engine, FrameView, ServeRequest
from livedenoise.engines.identity import IdentityEngine
from livedenoise.engines.onnxruntime_backend import OnnxRuntimeEngine
from livedenoise.engines.openvino_backend import OpenVinoEngine
from livedenoise.engines.package import resolve_model, shipped_models
from livedenoise.testing.engine_kit import CONSTANTS, EngineKit, Opened, make_frame
from livedenoise.testing.engine_model_kit import ModelEngineKit
from livedenoise.testing.tiny_package import write_tiny_package

needs_onnxruntime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="onnxruntime is not installed"
)
ENGINES = [
    pytest.param(OpenVinoEngine, id="openvino"),
    pytest.param(OnnxRuntimeEngine, id="onnxruntime", marks=needs_onnxruntime),
]


class TestIdentity(EngineKit):
    def make(self) -> Engine:
        return IdentityEngine()

    def test_counts_out_are_counts_in(self, tmp_path: Path) -> None:
        pixels = make_frame((32, 48), "<u2")
        with self.opened(tmp_path) as opened:
            np.testing.assert_array_equal(opened.run(pixels)[0], pixels)

    def test_integers_may_come_out_as_floats_but_not_the_other_way(self, tmp_path: Path) -> None:
        pixels = make_frame((32, 48), "<u2")
        with self.opened(tmp_path, out_dtype="<f4") as opened:
            np.testing.assert_array_equal(opened.run(pixels)[0], pixels)
        narrowing = self.request(tmp_path, dtype="<f4", out_dtype="<u2")
        assert "<f4" in (self.make().unsupported(narrowing) or "")


class TestOpenVino(ModelEngineKit):
    def make(self) -> Engine:
        return OpenVinoEngine()


@needs_onnxruntime
class TestOnnxRuntime(ModelEngineKit):
    def make(self) -> Engine:
        return OnnxRuntimeEngine()


def _run(kind: type[Engine], request: ServeRequest, pixels: np.ndarray) -> np.ndarray:
    engine = kind()
    info = engine.open(request)
    try:
        return Opened(engine, request, info).run(pixels)[0]
    finally:
        engine.close()


@needs_onnxruntime
@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<f4"])
def test_engines_agree_within_one_count(tmp_path: Path, dtype: str) -> None:
    package = write_tiny_package(tmp_path, "conv", stride=8)
    request = ServeRequest(
        shape=(101, 67),
        dtype=dtype,
        out_dtype=dtype,
        bit_depth=8 if dtype == "|u1" else 16,
        constants=CONSTANTS,
        package=package,
    )
    pixels = make_frame((101, 67), dtype)
    results = [_run(kind, request, pixels) for kind in (OpenVinoEngine, OnnxRuntimeEngine)]
    difference = np.abs(results[0].astype(np.float64) - results[1])
    assert difference.max() <= (1e-2 if dtype == "<f4" else 1)
    assert np.abs(results[0].astype(np.float64) - pixels).max() > 1


@needs_onnxruntime
@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_agree_between_engines(name: str) -> None:
    request = ServeRequest(
        shape=(90, 130),
        dtype="<u2",
        out_dtype="<f4",
        bit_depth=16,
        constants=CONSTANTS,
        package=resolve_model(name),
    )
    rng = np.random.default_rng(3)
    pixels = (100 + rng.poisson(20, (90, 130)) / 0.5 + rng.normal(0, 3, (90, 130))).astype("<u2")
    results = [_run(kind, request, pixels) for kind in (OpenVinoEngine, OnnxRuntimeEngine)]
    np.testing.assert_allclose(results[0], results[1], atol=0.05)
    assert results[0].std() < 0.8 * pixels.std()


@pytest.mark.parametrize("kind", ENGINES)
def test_the_engine_lets_go_of_a_finished_frame(tmp_path: Path, kind: type[Engine]) -> None:
    """A ring's memory can be closed while the engine stays open."""
    package = write_tiny_package(tmp_path, "identity")
    request = ServeRequest(
        shape=(32, 48),
        dtype="<u2",
        out_dtype="<u2",
        bit_depth=16,
        constants=CONSTANTS,
        package=package,
    )
    segment = shared_memory.SharedMemory(create=True, size=2 * 32 * 48 * 2)
    engine = kind()
    try:
        opened = Opened(engine, request, engine.open(request))
        slots = np.ndarray((2, 32, 48), dtype=np.uint16, buffer=segment.buf)
        slots[0] = make_frame((32, 48), "<u2")
        engine.submit(FrameView(seq=0, pixels=slots[0]), slots[1], reset=False)
        assert opened.next_done().error == ""
        np.testing.assert_array_equal(slots[0], slots[1])
        del slots
        segment.close()  # BufferError if anything still refers to it
        assert opened.run(make_frame((32, 48), "<u2"))[1].error == ""
    finally:
        engine.close()
        segment.unlink()


@pytest.mark.parametrize("kind", ENGINES)
def test_a_missing_runtime_is_named_with_the_mend(
    tmp_path: Path, kind: type[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = TestOpenVino().request(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install" in (kind().unsupported(request) or "")


def _run_script(script: str) -> str:
    """Run a script in a fresh interpreter; return what it says when it fails."""
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    return run.stderr if run.returncode else ""


def test_openvino_is_loaded_without_its_telemetry() -> None:
    script = (
        "import sys, threading\n"
        "from livedenoise.engines.openvino_backend import import_openvino\n"
        "assert import_openvino().Core and import_openvino() is sys.modules['openvino']\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "assert threading.active_count() == 1"
    )
    assert _run_script(script) == ""


def test_importing_the_engines_loads_no_runtime() -> None:
    script = (
        "import sys, livedenoise.engines.select, livedenoise.engines.package\n"
        "heavy = {'openvino', 'onnxruntime', 'onnx', 'torch', 'scipy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    assert _run_script(script) == ""
