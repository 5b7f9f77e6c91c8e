"""The wrapped graph, run by ONNX's own reference evaluator, against the formulae on arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.engine import ServeRequest
from livedenoise.core.errors import PackageError
from livedenoise.engines.graph import constant_inputs, spec_of, wrap_network
from livedenoise.engines.package import read_package
from livedenoise.imaging.transforms import CountsTransform
from livedenoise.testing.tiny_package import Kind, build_network, write_tiny_package

CONSTANTS = CameraConstants(gain_e_per_adu=0.46, offset_adu=100.0, read_noise_e=1.6)


def _request(**changes: Any) -> ServeRequest:
    values: dict[str, Any] = {
        "shape": (9, 14),
        "dtype": "<u2",
        "out_dtype": "<u2",
        "bit_depth": 16,
        "constants": CONSTANTS,
    }
    return ServeRequest(**(values | changes))


def _run(folder: Path, request: ServeRequest, frame: np.ndarray) -> dict[str, np.ndarray]:
    content = wrap_network(read_package(folder), spec_of(request))
    onnx.checker.check_model(content, full_check=True)
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(content))
    values = evaluator.run(None, {"frame": frame, **constant_inputs(request)})
    return dict(zip(evaluator.output_names, values, strict=True))


def _expected(kind: Kind, request: ServeRequest, frame: np.ndarray) -> np.ndarray:
    """Return the float counts by the formulae: transform, edge padding, bare network, inverse."""
    transform = CountsTransform(request.constants, request.maps)
    u = transform.to_network(frame)
    rows, columns = u.shape
    padded = np.pad(u, ((0, -rows % 4), (0, -columns % 4)), mode="edge")
    (result,) = ReferenceEvaluator(build_network(kind)).run(None, {"u": padded[None, None]})
    return transform.to_counts(result[0, 0, :rows, :columns])


@pytest.mark.parametrize("kind", ["conv", "mean"])
@pytest.mark.parametrize("shape", [(1, 1), (9, 14), (16, 8)])
def test_counts_follow_the_formulae(tmp_path: Path, kind: Kind, shape: tuple[int, int]) -> None:
    request = _request(shape=shape, out_dtype="<f4")
    rng = np.random.default_rng(1)
    frame = rng.integers(80, 400, shape).astype(np.uint16)
    out = _run(write_tiny_package(tmp_path, kind), request, frame)
    np.testing.assert_allclose(out["out"], _expected(kind, request, frame), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(out["row_sums"], out["out"].sum(axis=1), rtol=1e-5)
    assert "row_clipped" not in out


def test_maps_and_excess_noise_follow_the_formulae(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    plane = rng.random((9, 14)).astype(np.float32)
    maps = CameraMaps(
        offset_adu=100 + 10 * plane, gain_e_per_adu=0.4 + plane / 5, variance_adu2=plane
    )
    constants = CameraConstants(
        gain_e_per_adu=0.5, offset_adu=105.0, read_noise_e=2.0, excess_noise_factor=2.0
    )
    request = _request(constants=constants, maps=maps, out_dtype="<f4")
    frame = rng.integers(80, 400, (9, 14)).astype(np.uint16)
    out = _run(write_tiny_package(tmp_path), request, frame)
    np.testing.assert_allclose(out["out"], _expected("conv", request, frame), rtol=1e-5, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    bits=st.sampled_from([8, 10, 12, 16]),
    seed=st.integers(0, 2**16),
)
def test_integers_are_rounded_clipped_and_counted(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    top = 2**bits - 1
    frame = rng.uniform(-0.2 * top, 1.2 * top, (rows, columns)).astype(np.float32)
    request = _request(
        shape=(rows, columns),
        dtype="<f4",
        bit_depth=bits,
        constants=CameraConstants(gain_e_per_adu=1.0, offset_adu=0.0, read_noise_e=0.0),
    )
    out = _run(write_tiny_package(tmp_path_factory.mktemp("p"), "identity"), request, frame)
    rounded = np.rint(frame)
    np.testing.assert_array_equal(out["out"], np.clip(rounded, 0, top))
    assert out["out"].dtype == np.uint16
    outside = (rounded < 0) | (rounded > top)
    np.testing.assert_array_equal(out["row_clipped"], outside.sum(axis=1))


def test_a_row_with_nan_has_a_sum_that_is_not_finite(tmp_path: Path) -> None:
    request = _request(
        constants=CameraConstants(gain_e_per_adu=1.0, offset_adu=0.0, read_noise_e=0.0)
    )
    frame = np.full((9, 14), 100, dtype=np.uint16)
    frame[4, 13] = 60_000
    folder = write_tiny_package(tmp_path, "nan")
    with np.errstate(invalid="ignore"):
        out = _run(folder, request, frame)
    assert np.flatnonzero(~np.isfinite(out["row_sums"])).tolist() == [4]


def test_an_old_operator_set_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_package(tmp_path, "identity")
    package = read_package(folder)
    model = onnx.load(package.onnx_path)
    model.opset_import[0].version = 11
    onnx.save(model, package.onnx_path)
    with pytest.raises(PackageError, match="operator set 11"):
        wrap_network(package, spec_of(_request()))


def test_a_network_may_use_the_wrapper_s_names(tmp_path: Path) -> None:
    """Tensor names of the network never meet those of the wrapper."""
    folder = write_tiny_package(tmp_path, "identity")
    package = read_package(folder)
    model = onnx.load(package.onnx_path)
    model.graph.input[0].name = model.graph.node[0].input[0] = "frame"
    model.graph.output[0].name = model.graph.node[0].output[0] = "out"
    onnx.save(model, package.onnx_path)
    content = wrap_network(package, spec_of(_request()))
    onnx.checker.check_model(content, full_check=True)
