"""Choosing an engine: by name, or the first of the visible chain that can and does open."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import ConfigError, DenoiseError, PackageError
from livedenoise.engines.flight import available_cores, choose_threads
from livedenoise.engines.identity import IdentityEngine
from livedenoise.engines.openvino_backend import OpenVinoEngine
from livedenoise.engines.select import AutoEngine, choose_engine
from livedenoise.testing.tiny_package import write_tiny_package


def _request(package: Path | None, **changes: Any) -> ServeRequest:
    values: dict[str, Any] = {
        "shape": (16, 16),
        "dtype": "<u2",
        "out_dtype": "<u2",
        "bit_depth": 16,
        "constants": CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.0),
        "package": package,
    }
    return ServeRequest(**(values | changes))


class FailingEngine(IdentityEngine):
    """Refuses to open."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def open(self, request: ServeRequest) -> EngineInfo:  # noqa: ARG002
        raise self._error


def test_auto_is_openvino_where_it_is_installed(tmp_path: Path) -> None:
    engine = choose_engine("auto", _request(write_tiny_package(tmp_path)))
    info = engine.open(_request(write_tiny_package(tmp_path)))
    try:
        assert (info.engine, info.notes) == ("openvino", ())
        pixels = np.full((16, 16), 120, dtype=np.uint16)
        out = np.zeros_like(pixels)
        engine.submit(FrameView(seq=4, pixels=pixels), out, reset=False)
        done = engine.poll(10.0)
        assert done is not None
        assert (done.seq, done.error) == (4, "")
        assert out.any()
    finally:
        engine.close()
    assert engine.poll(0.0) is None


def test_auto_never_means_identity() -> None:
    with pytest.raises(ConfigError, match="no model package") as caught:
        choose_engine("auto", _request(None))
    assert "identity" not in str(caught.value)


def test_auto_without_openvino_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "openvino" else find_spec(name)
    )
    request = _request(write_tiny_package(tmp_path))
    engine = choose_engine("auto", request)
    info = engine.open(request)
    engine.close()
    assert info.engine == "onnxruntime"
    assert any("openvino" in note and "pip install" in note for note in info.notes)


def test_auto_says_nothing_of_a_fallback_that_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    request = _request(write_tiny_package(tmp_path))
    engine = choose_engine("auto", request)
    info = engine.open(request)
    engine.close()
    assert (info.engine, info.notes) == ("openvino", ())


def test_an_engine_that_fails_to_open_is_passed_over_visibly() -> None:
    broken = FailingEngine(DenoiseError("the runtime is broken"))
    engine = AutoEngine([("first", broken), ("second", IdentityEngine())], ["zeroth: absent"])
    info = engine.open(_request(None))
    engine.close()
    assert info.engine == "identity"
    assert info.notes == ("not zeroth: absent", "not first: the runtime is broken")


def test_when_none_opens_every_reason_is_given() -> None:
    candidates = [(name, FailingEngine(DenoiseError(f"{name} fails"))) for name in ("one", "two")]
    with pytest.raises(DenoiseError, match=r"one: one fails.*two: two fails"):
        AutoEngine(candidates, []).open(_request(None))


def test_a_bad_package_is_nobody_s_fault_but_its_own() -> None:
    broken = FailingEngine(PackageError("wrong hash"))
    with pytest.raises(PackageError, match="wrong hash"):
        AutoEngine([("first", broken), ("second", IdentityEngine())], []).open(_request(None))


def test_names_are_checked(tmp_path: Path) -> None:
    request = _request(write_tiny_package(tmp_path))
    with pytest.raises(ConfigError, match="'tensorrt' is not known"):
        choose_engine("tensorrt", request)
    assert isinstance(choose_engine("identity", request), IdentityEngine)
    assert isinstance(choose_engine("openvino", request), OpenVinoEngine)
    with pytest.raises(ConfigError, match="bit depth of 17"):
        choose_engine("openvino", _request(request.package, bit_depth=17))


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (4, 3), (8, 7), (16, 14)])
def test_threads_leave_room(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livedenoise.engines.flight.available_cores", lambda: cores)
    assert choose_threads(0) == threads
    assert choose_threads(5) == 5
    assert available_cores() >= 1
