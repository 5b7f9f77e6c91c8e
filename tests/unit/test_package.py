"""Reading model packages: what is taken, and each way of being refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from livedenoise.core.errors import PackageError
from livedenoise.engines.package import read_package, resolve_model, shipped_models
from livedenoise.testing.tiny_package import write_tiny_package


def _edit(folder: Path, **changes: Any) -> Path:
    path = folder / "rdf.yaml"
    manifest = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(manifest | changes))
    return folder


def test_a_package_is_read(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, "conv", stride=8)
    (tmp_path / "README.md").write_text("# card\n")
    package = read_package(tmp_path)
    content = (tmp_path / "model.onnx").read_bytes()
    assert package.sha256 == hashlib.sha256(content).hexdigest()
    assert package.hash == package.sha256[:12]
    assert package.name == tmp_path.name
    assert package.stride == (8, 8)
    assert package.receptive_field_px == 23
    assert package.electron_range == (0.3, 3000.0)
    assert package.units == "k-sigma"
    assert package.card == "# card\n"


def test_one_number_is_a_stride_for_both_axes(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, section={"stride": 4})
    assert read_package(tmp_path).stride == (4, 4)


def test_a_wrong_hash_is_refused_with_both_values(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, sha256="0" * 64)
    true_hash = hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    with pytest.raises(PackageError) as caught:
        read_package(tmp_path)
    assert true_hash in str(caught.value)
    assert "0" * 64 in str(caught.value)


def test_three_channels_are_refused(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, "identity", channels=3)
    with pytest.raises(PackageError, match=r"\(free, 3, free, free\), needs 1 channel"):
        read_package(tmp_path)


def test_a_foreign_package_is_refused_as_not_served_yet(tmp_path: Path) -> None:
    write_tiny_package(tmp_path, foreign=True)
    with pytest.raises(PackageError, match="foreign package"):
        read_package(tmp_path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"units": "photons"}, "photons"),
        ({"stride": "four"}, "stride"),
        ({"stride": [0, 4]}, "stride"),
        ({"receptive_field_px": -1}, "receptive_field_px"),
        ({"electron_range": [10.0, 1.0]}, "electron_range"),
        ({"electron_range": [10.0]}, "electron_range"),
        ({"kflop_per_px": None}, "kflop_per_px"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, section: dict[str, Any], message: str) -> None:
    write_tiny_package(tmp_path, section=section)
    with pytest.raises(PackageError, match=message):
        read_package(tmp_path)


def test_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_package(tmp_path / "package")
    (tmp_path / "other.onnx").write_bytes((folder / "model.onnx").read_bytes())
    _edit(folder, weights={"onnx": {"source": "../other.onnx", "sha256": "0"}})
    with pytest.raises(PackageError, match="not a file of the folder"):
        read_package(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {}}, "weights.onnx"),
        ({"weights": {"onnx": {"source": "absent.onnx", "sha256": "0"}}}, "absent.onnx"),
        ({"type": "dataset"}, "dataset"),
    ],
)
def test_an_incomplete_manifest_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PackageError, match=message):
        read_package(_edit(write_tiny_package(tmp_path), **changes))


def test_bytes_that_are_no_network_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_package(tmp_path)
    (folder / "model.onnx").write_bytes(b"\xff" * 100)
    sha256 = hashlib.sha256(b"\xff" * 100).hexdigest()
    _edit(folder, weights={"onnx": {"source": "model.onnx", "sha256": sha256}})
    with pytest.raises(PackageError, match="not an ONNX file"):
        read_package(folder)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "\x00"])
def test_a_manifest_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rdf.yaml").write_text(text)
    with pytest.raises(PackageError, match=r"rdf\.yaml"):
        read_package(tmp_path)


def test_models_are_found_by_name_or_folder(tmp_path: Path) -> None:
    folder = write_tiny_package(tmp_path / "mine")
    assert resolve_model(folder) == folder
    assert resolve_model(str(folder)) == folder
    for name in shipped_models():
        assert read_package(resolve_model(name)).path.name == name


@pytest.mark.parametrize("name", ["no-such-model", "a folder"])
def test_an_unknown_model_lists_the_shipped_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / "a folder").mkdir()
    with pytest.raises(PackageError, match="shipped models") as caught:
        resolve_model(tmp_path / name)
    for shipped in shipped_models():
        assert shipped in str(caught.value)
