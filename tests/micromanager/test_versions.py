"""Which pymmcore fits which Micro-Manager, where Micro-Manager is, and why it did not load."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from livedenoise.core.errors import CameraError
from livedenoise.micromanager import app_folder, packages
from livedenoise.micromanager.app_folder import adapter_files, find_app, folder_interface
from livedenoise.micromanager.packages import (
    NEWEST,
    Installed,
    adapters_interface,
    installed,
    interface_of,
    mend_interface,
    missing,
)
from livedenoise.micromanager.python_core import start_python
from livedenoise.micromanager.versions import explain_load_error, missing_packages

RECORDED = json.loads((Path(__file__).parent / "load_errors.json").read_text(encoding="utf-8"))
PREFIX = "mmgr_dal_" if sys.platform == "win32" else "libmmgr_dal_"


def said(what: str, pymmcore: str = "12.5.1.75.0") -> str:
    return next(row["said"][what] for row in RECORDED if row["pymmcore"] == pymmcore)


def explained(what: str, app: Path, pymmcore: str = "12.5.1.75.0") -> CameraError:
    text = said(what, pymmcore).replace("{app}", str(app)).replace("{folder}", str(app))
    call = f"Micro-Manager: loadSystemConfiguration('rig (1).cfg') failed: {text}"
    return explain_load_error(call, app, "rig.cfg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that looks like Micro-Manager's, with two adapters."""
    app = tmp_path / "Micro-Manager-2.0"
    app.mkdir()
    for name in ("DemoCamera", "PVCAM"):
        (app / f"{PREFIX}{name}.so.0").write_text("")
    (app / "rig.cfg").write_text("")
    return app


@pytest.mark.parametrize("pymmcore", ["11.10.0.74.1", "11.9.0.73.0", "11.2.1.71.0"])
def test_adapters_of_another_interface_name_both_numbers(folder: Path, pymmcore: str) -> None:
    error = explained("demo", folder, pymmcore)
    wanted = interface_of(pymmcore)
    assert f"in {folder} have device interface 75" in error.message
    assert error.message.endswith(f"has {wanted}")
    assert "line 7 (Device,DHub,DemoCamera,DHub)" in error.message
    assert f'pip install "pymmcore=={NEWEST[75]}"' in error.hint


def test_the_demo_names_the_pinned_pair() -> None:
    error = explained("demo", find_app("demo"), "11.10.0.74.1")
    assert "livedenoise[micromanager-demo]" in error.hint


def test_the_mend_depends_on_the_adapters_interface() -> None:
    for number, release in NEWEST.items():
        assert f"pymmcore=={release}" in mend_interface(number)
        assert interface_of(release) == number
    # No release has it, or none that runs with NumPy 2: Micro-Manager must be updated.
    for number in (69, 70, 72):
        assert "newer Micro-Manager" in mend_interface(number)
        assert "pip" not in mend_interface(number)
    assert "4th number is 80" in mend_interface(80)
    assert "getAPIVersionInfo" in mend_interface(0)


def test_no_such_adapter_lists_those_there_are(folder: Path) -> None:
    (folder / f"{PREFIX}PVCAM.so.0").unlink()
    for pymmcore in ("12.5.1.75.0", "11.2.1.71.0"):
        error = explained("no adapter", folder, pymmcore)
        assert f"no device adapter PVCAM in {folder}; there are DemoCamera" in error.message
        assert "camera.app_path" in error.hint


@pytest.mark.parametrize("pymmcore", ["12.5.1.75.0", "11.2.1.71.0"])
def test_an_adapter_without_its_driver_names_the_driver(folder: Path, pymmcore: str) -> None:
    error = explained("no driver", folder, pymmcore)
    assert f"PVCAM is in {folder} but does not load: libpvcam.so.2: cannot open" in error.message
    assert "PVCAM (Teledyne Photometrics)" in error.hint


def test_a_missing_configuration_lists_those_there_are(folder: Path) -> None:
    error = explained("no config file", folder)
    assert "nope.cfg: the file cannot be opened" in error.message
    assert "there are rig.cfg" in error.message
    assert "camera.config_file" in error.hint


@pytest.mark.parametrize(
    ("what", "told", "mend"),
    [
        ("no device", "DemoCamera makes no device NoCam", "used by no other program"),
        ("not initialized", "device Stage does not start: No DA Device", "opened twice"),
        ("no property", "line 3 (Property,Cam,NoSuch,1): Micro", "hardware wizard"),
        ("bad value", 'set property "Binning" to "77"', "hardware wizard"),
        ("label twice", '"Cam" is already in use', "hardware wizard"),
        ("damaged adapter", "file too short", "same bits as this Python"),
    ],
)
def test_each_failure_says_the_line_and_the_mend(
    folder: Path, what: str, told: str, mend: str
) -> None:
    error = explained(what, folder)
    assert told in error.message
    assert error.message.startswith("rig.cfg: line ")
    assert mend in error.hint


def test_a_real_core_is_explained(tmp_path: Path) -> None:
    config = tmp_path / "rig.cfg"
    config.write_text("Device,Cam,PVCAM,Camera-1\n")
    with pytest.raises(CameraError, match=r"line 1 \(Device,Cam,PVCAM,Camera-1\)") as error:
        start_python(find_app("demo"), config)
    assert "no device adapter PVCAM" in error.value.message
    assert "DemoCamera and Utilities" in error.value.hint


def test_numpy_1_builds_are_not_called_missing() -> None:
    built_for_1 = missing_packages(ImportError("numpy.core.multiarray failed to import"))
    assert "NumPy 1" in built_for_1.message
    absent = missing_packages(ImportError("No module named 'pycromanager'"))
    assert "pycromanager" in absent.message
    assert "livedenoise[micromanager]" in absent.hint


def test_installed_packages_are_told_without_importing_them() -> None:
    found = installed()
    assert found.device_interface == adapters_interface(found.adapters) == 75
    assert "pymmcore 12" in found.text()
    assert missing(found, backend="python", demo=True) == ""
    assert missing(Installed(), backend="java") == "pycromanager, pyjavaz"
    nothing = missing(Installed(), backend="python", demo=True)
    assert nothing == "pycromanager, pyjavaz, pymmcore, mm-test-adapters"
    assert (interface_of("10.1.1"), interface_of(""), adapters_interface("")) == (0, 0, 0)


def test_a_package_that_is_not_installed_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    assert installed() == Installed()
    assert "none" in installed().text()


def test_the_interface_of_an_installation_is_read_from_its_demo_adapter(folder: Path) -> None:
    assert folder_interface(find_app("demo")) == 75
    # Not a library: it does not tell.
    assert folder_interface(folder) == 0


def test_a_folder_is_taken_at_its_word(folder: Path, tmp_path: Path) -> None:
    assert find_app(str(folder)) == folder
    assert set(adapter_files(folder)) == {"DemoCamera", "PVCAM"}
    with pytest.raises(CameraError, match="no such folder"):
        find_app(str(tmp_path / "absent"))
    # The folder above: one level too high is the usual mistake.
    with pytest.raises(CameraError, match="no device adapters") as error:
        find_app(str(tmp_path))
    assert f"there are some in {folder}" in error.value.message
    assert app_folder.VARIABLE in error.value.hint


def test_auto_takes_the_variable_first(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / f"{PREFIX}DemoCamera").write_text("")
    assert app_folder._auto({"MICROMANAGER_PATH": str(other)}, [tmp_path]) == other
    with pytest.raises(CameraError, match="MICROMANAGER_PATH"):
        app_folder._auto({"MICROMANAGER_PATH": str(tmp_path / "absent")}, [tmp_path])


def test_auto_takes_the_newest_of_the_usual_places(folder: Path, tmp_path: Path) -> None:
    older = tmp_path / "Micro-Manager-1.4"
    older.mkdir()
    (older / f"{PREFIX}DemoCamera").write_text("")
    os.utime(older, (1.0, 1.0))
    (tmp_path / "Micro-Manager-empty").mkdir()
    assert app_folder._auto({}, [tmp_path]) == folder


def test_auto_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="was not found") as error:
        app_folder._auto({}, [tmp_path / "a", tmp_path / "b"])
    assert str(tmp_path / "b") in error.value.message
    assert '"demo"' in error.value.hint


@pytest.mark.parametrize(
    ("system", "place"),
    [("win32", r"C:\Program Files"), ("darwin", "/Applications"), ("linux", "/opt")],
)
def test_each_system_has_its_usual_places(
    system: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert Path(place) in app_folder._usual_folders()


def test_the_demo_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_folder, "find_spec", lambda _: None)
    with pytest.raises(CameraError, match="not installed") as error:
        find_app("demo")
    assert error.value.hint == packages.DEMO
