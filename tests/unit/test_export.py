"""A package written from a network is what the network is, and what bioimage.io calls valid."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import yaml  # noqa: E402

from livedenoise.core.errors import PackageError  # noqa: E402
from livedenoise.train import export  # noqa: E402
from livedenoise.train.export import PackageFacts, write_package  # noqa: E402
from livedenoise.train.networks import KSigmaUNet  # noqa: E402

FACTS = PackageFacts(name="tiny", training_command="none", training_steps=0)


def _network() -> KSigmaUNet:
    torch.manual_seed(1)
    network = KSigmaUNet((16, 16, 16, 16))
    torch.nn.init.normal_(network.trunk.leave.weight, std=0.1)
    return network.eval()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages") / "tiny"
    write_package(_network(), folder, FACTS)
    return folder


def _noisy(rows: int, columns: int, n: int = 1) -> np.ndarray:
    rng = np.random.default_rng(rows * columns)
    return rng.poisson(20.0, (n, 1, rows, columns)).astype(np.float32)


def _expected(image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        result: np.ndarray = _network()(torch.from_numpy(image)).numpy()
    return result


@pytest.mark.parametrize(("rows", "columns", "n"), [(16, 16, 1), (48, 32, 1), (32, 80, 3)])
def test_onnxruntime_agrees_with_torch_at_every_size(
    package: Path, rows: int, columns: int, n: int
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        package / "model.onnx", providers=["CPUExecutionProvider"]
    )
    image = _noisy(rows, columns, n)
    result = session.run(None, {export.INPUT: image})[0]
    assert np.allclose(result, _expected(image), atol=2e-3)


@pytest.fixture(scope="module")
def openvino_threads(package: Path) -> None:
    """Let OpenVINO start the threads it keeps for the life of the process."""
    openvino = pytest.importorskip("openvino")
    openvino.Core().compile_model(package / "model.onnx", "CPU")(_noisy(16, 16))


@pytest.mark.usefixtures("openvino_threads")
@pytest.mark.parametrize("static", [False, True])
def test_openvino_agrees_with_torch_with_free_and_fixed_sizes(package: Path, static: bool) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.read_model(package / "model.onnx")
    image = _noisy(48, 64)
    if static:
        model.reshape(list(image.shape))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    result = core.compile_model(model, "CPU", settings)(image)[0]
    assert np.allclose(result, _expected(image), atol=2e-3)


def test_the_manifest_names_the_hashes_of_its_files(package: Path) -> None:
    manifest = yaml.safe_load((package / "rdf.yaml").read_text(encoding="utf-8"))
    entries = [
        manifest["weights"]["onnx"],
        manifest["inputs"][0]["test_tensor"],
        manifest["outputs"][0]["test_tensor"],
    ]
    for entry in entries:
        content = (package / entry["source"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def test_the_test_tensors_are_counts_and_reproduced_through_the_manifests_affines(
    package: Path,
) -> None:
    manifest = yaml.safe_load((package / "rdf.yaml").read_text(encoding="utf-8"))
    before = manifest["inputs"][0]["preprocessing"][0]["kwargs"]
    after = manifest["outputs"][0]["postprocessing"][0]["kwargs"]
    counts = np.load(package / "test_input.npy", allow_pickle=False)
    wanted = np.load(package / "test_output.npy", allow_pickle=False)
    u = (counts * before["gain"] + before["offset"]).astype(np.float32)
    result = _expected(u) * after["gain"] + after["offset"]
    assert counts.dtype == wanted.dtype == np.float32
    assert np.array_equal(counts, np.rint(counts))
    assert np.allclose(result, wanted, atol=1e-2)
    assert np.allclose(u * after["gain"] + after["offset"], counts, atol=1e-3)


def test_engines_read_the_package(package: Path) -> None:
    reading = pytest.importorskip("livedenoise.engines.package")
    read = reading.read_package(package)
    assert read.stride == (16, 16)
    assert read.receptive_field_px == 167
    assert read.electron_range == (0.3, 30000.0)


def test_bioimageio_calls_the_package_valid_without_a_network(package: Path) -> None:
    spec = pytest.importorskip("bioimageio.spec")
    manifest = yaml.safe_load((package / "rdf.yaml").read_text(encoding="utf-8"))
    context = spec.ValidationContext(root=package, perform_io_checks=False, log_warnings=False)
    description = spec.build_description(manifest, context=context)
    assert description.validation_summary.status in {"valid-format", "passed"}
    assert description.type == "model"


def test_the_file_holds_no_trace_of_the_machine_and_all_its_weights(package: Path) -> None:
    import onnx

    content = (package / "model.onnx").read_bytes()
    model = onnx.load_model_from_string(content)
    assert str(Path.home()).encode() not in content
    assert b"site-packages" not in content
    assert b".py" not in content
    assert not [t for t in model.graph.initializer if t.data_location == 1]
    assert [p.name for p in package.iterdir() if p.suffix == ".data"] == []


def test_a_file_beyond_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_ONNX_BYTES", 1000)
    with pytest.raises(PackageError, match="more than 1000"):
        export.check_size(b"0" * 1001, tmp_path / "model.onnx")


def test_a_card_that_is_there_is_kept(package: Path) -> None:
    assert "tiny" in (package / "README.md").read_text(encoding="utf-8")
    assert (package / "cover.png").read_bytes()[:4] == b"\x89PNG"
