"""What is said of Micro-Manager, its camera and the way its frames take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge.client import BridgeProcess

from livedenoise.acquire.cameras import make_camera
from livedenoise.acquire.inspect import Inspected, inspect_camera
from livedenoise.core.camera import CameraInfo, Prepared, StreamRequest
from livedenoise.core.check_facts import Finding
from livedenoise.core.config import parse_config
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager import inspecting
from livedenoise.micromanager.app_folder import find_app
from livedenoise.micromanager.inspecting import copy_rate_mb_per_s, inspect, inspect_unopened
from livedenoise.micromanager.java_core import JavaCore, connect_java
from livedenoise.micromanager.look import look_at
from livedenoise.micromanager.packages import Installed
from livedenoise.micromanager.python_core import PythonCore, start_python

CLOSED_PORT = 18_199


def configured(**camera: Any) -> MicroManagerCameraConfig:
    section = {"kind": "micromanager", "name": "mm"} | camera
    found = parse_config({"camera": [section]}, "test").camera[0]
    assert isinstance(found, MicroManagerCameraConfig)
    return found


def demo(**camera: Any) -> MicroManagerCameraConfig:
    return configured(app_path="demo", config_file="MMConfig_demo.cfg", **camera)


def named(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    assert {finding.group for finding in findings} <= {"cameras"}
    assert all(finding.name.startswith("mm") for finding in findings)
    return {finding.name.partition(": ")[2]: finding for finding in findings}


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge: no test here kills it."""
    return calm_bridge


@pytest.fixture
def core() -> Iterator[PythonCore]:
    app = find_app("demo")
    core = start_python(app, app / "MMConfig_demo.cfg", buffer_mb=64)
    yield core
    core.close()


@pytest.fixture
def java(bridge: BridgeProcess) -> Iterator[JavaCore]:
    core = connect_java("127.0.0.1", bridge.port, 2.0)
    yield core
    core.close()


def test_a_real_camera_is_read(core: PythonCore) -> None:
    core.call("setExposure", 20.0)
    core.set_property("Camera", "Binning", "2")
    core.set_property("Camera", "UseExposureSequences", "Yes")
    found = named(inspect(core, demo()))
    versions = found["versions"].text
    assert "MMCore 12." in versions
    assert "device interface 75" in versions
    assert "mm_test_adapters" in versions
    camera = found["micro-manager"].text
    for part in (
        "Camera (DemoCamera DCam: Demo camera)",
        "sensor 512x512, 256x256 at (0, 0)",
        "16bit, 16 bits",
        "exposure 20 ms (0 to 10000 ms)",
        "binning 2 of 1, 2, 4, 8",
    ):
        assert part in camera
    assert "sequence: none" not in camera
    assert found["buffer"].text == "64 MiB, 512 frames, 10.2 s at 50 fps"
    assert found["live view"].ok == "ok"
    assert "own, python" in found["path"].text
    assert "the camera delivers 6.554 MB/s (50 fps)" in found["path"].text
    assert found["processing"].ok == "ok"
    assert {finding.ok for finding in found.values()} == {"ok"}


def test_nothing_is_exposed_or_changed_while_looking(core: PythonCore) -> None:
    core.call("setROI", 16, 32, 128, 64)
    core.call("startContinuousSequenceAcquisition", 0.0)
    before = core.roi(), core.exposure_ms(), core.property("Camera", "PixelType")
    found = named(inspect(core, demo()))
    assert core.running()
    assert (core.roi(), core.exposure_ms(), core.property("Camera", "PixelType")) == before
    core.call("stopSequenceAcquisition")
    assert "128x64 at (16, 32)" in found["micro-manager"].text
    assert found["live view"].ok == "problem"


def test_a_measured_period_wins(core: PythonCore) -> None:
    found = named(inspect(core, demo(rate_hz=10.0), period_ns=5_000_000))
    assert "200 fps" in found["buffer"].text


def test_processing_becomes_a_warning_with_its_mend(core: PythonCore) -> None:
    core.set_property("Camera", "DropPixels", "1")
    warning = named(inspect(core, demo()))["DropPixels"]
    assert warning.ok == "warning"
    assert '"DropPixels" = "0"' in warning.mend


def test_an_adapter_that_is_not_known_is_said(
    core: PythonCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "KNOWN", frozenset())
    processing = named(inspect(core, demo()))["processing"]
    assert "DemoCamera may do is not known" in processing.text


def test_colour_pixels_are_a_problem(core: PythonCore) -> None:
    core.set_property("Camera", "PixelType", "32bitRGB")
    problem = named(inspect(core, demo()))["micro-manager"]
    assert problem.ok == "problem"
    assert "16bit" in problem.mend


def test_no_camera_is_a_problem_and_versions_are_still_told() -> None:
    core = start_python(find_app("demo"), None, buffer_mb=16)
    try:
        found = named(inspect(core, demo()))
    finally:
        core.close()
    assert found["micro-manager"].ok == "problem"
    assert "12." in found["versions"].text


def test_what_cannot_be_read_does_not_hide_the_rest(
    core: PythonCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise CameraError("the camera is busy", "wait")

    monkeypatch.setattr(inspecting, "processing_in_use", refuse)
    found = named(inspect(core, demo()))
    assert (found["processing"].ok, found["processing"].text) == ("problem", "the camera is busy")
    assert found["live view"].ok == "ok"


def test_a_python_way_is_measured_with_frames_of_that_size() -> None:
    assert copy_rate_mb_per_s(1 << 20, 0.01) > 100
    assert copy_rate_mb_per_s(1, 0.001) > 0


def test_a_camera_of_pvcam_and_of_dcam_tells_readout_and_gain() -> None:
    class Fake(PythonCore):
        def __init__(self, library: str, properties: dict[str, str]) -> None:
            self.library, self.properties = library, properties

        def call(self, name: str, *args: object) -> object:
            known: dict[str, object] = {
                "getCameraDevice": "Cam",
                "getDevicePropertyNames": tuple(self.properties),
                "getDeviceLibrary": self.library,
                "hasPropertyLimits": False,
                "isExposureSequenceable": False,
                "isSequenceRunning": False,
                "getROI": (0, 0, 64, 48),
                "getAllowedPropertyValues": ("2x2", "1x1"),
            }
            if name == "getProperty":
                return self.properties[str(args[1])]
            return known.get(name, 1)

    look = look_at(Fake("PVCAM", {"Timing-ReadoutTimeNs": "8475000", "X-dimension": "2400"}))
    assert look.readout_s == pytest.approx(0.008475)
    assert look.sensor == (0, 0)
    dcam = {"CONVERSION FACTOR COEFF": "0.4800", "CONVERSION FACTOR OFFSET": "100.0000"}
    look = look_at(Fake("HamamatsuHam", dcam | {"ReadoutTime": "0.0333", "Binning": "1x1"}))
    assert (look.own_gain_e_per_adu, look.own_offset_adu) == (0.48, 100.0)
    assert look.readout_s == pytest.approx(0.0333)
    assert look.binnings == ("1x1", "2x2")
    look = look_at(Fake("PCO_Camera", {"Conversion factor*100": "46"}))
    assert (look.own_gain_e_per_adu, look.own_offset_adu) == (0.46, None)


# Over the bridge.


def test_a_running_micro_manager_is_described(java: JavaCore, bridge: BridgeProcess) -> None:
    config = configured(backend="java", port=bridge.port)
    found = named(inspect(java, config))
    assert f"127.0.0.1:{bridge.port} answers, server version 5.1.0" in found["port"].text
    assert "device interface 75" in found["versions"].text
    assert "Camera (DemoCamera DCam" in found["micro-manager"].text
    assert "own, java" in found["path"].text
    assert "MB/s" in found["path"].text
    assert bridge.user("isSequenceRunning") is False


def test_a_tapped_live_view_goes_on(java: JavaCore, bridge: BridgeProcess) -> None:
    bridge.user("startContinuousSequenceAcquisition", 5.0)
    config = configured(backend="java", port=bridge.port, mode="tap")
    found = named(inspect(java, config))
    assert bridge.user("isSequenceRunning") is True
    assert found["live view"].ok == "ok"
    assert "tap, java" in found["path"].text


# A camera that did not open.


def test_a_closed_port_is_said() -> None:
    found = named(inspect_unopened(configured(backend="java", port=CLOSED_PORT)))
    assert "pycromanager 1.0.2" in found["versions"].text
    assert found["port"].text == f"closed: nothing listens on 127.0.0.1:{CLOSED_PORT}"
    assert "Run server on port" in found["port"].mend


def test_a_port_that_never_answers_is_silent(bridge: BridgeProcess) -> None:
    bridge.fault("hang", "connect")
    config = configured(backend="java", port=bridge.port, call_timeout_s=0.5)
    assert named(inspect_unopened(config))["port"].text.startswith("silent: ")


def test_a_wrong_folder_is_said(tmp_path: Path) -> None:
    found = named(inspect_unopened(configured(app_path=str(tmp_path))))
    assert found["folder"].ok == "problem"
    assert "pymmcore 12" in found["versions"].text


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "installed", Installed)
    found = named(inspect_unopened(demo()))
    assert set(found) == {"versions", "folder"}
    assert "pymmcore" in found["versions"].text
    assert "micromanager-demo" in found["versions"].mend
    java_only = named(inspect_unopened(configured(backend="java", port=CLOSED_PORT)))
    assert set(java_only) == {"versions"}
    assert java_only["versions"].mend.endswith('"livedenoise[micromanager]"')


def test_another_interface_is_found_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Installed(pymmcore="11.10.0.74.1", pycromanager="1.0.2", pyjavaz="1", adapters="75.1")
    monkeypatch.setattr(inspecting, "installed", lambda: there)
    folder = named(inspect_unopened(demo()))["folder"]
    assert folder.ok == "problem"
    assert "interface 75; the installed pymmcore 11.10.0.74.1 has 74" in folder.text
    assert "micromanager-demo" in folder.mend


def inspected(config: MicroManagerCameraConfig) -> Inspected:
    return inspect_camera(make_camera(config), config, None)


def test_a_refused_property_stands_beside_what_was_found() -> None:
    found = inspected(demo(properties={"Camera": {"Nope": "1"}}))
    assert found.refusal is not None
    assert "Nope" in found.refusal.message
    assert found.prepared is None
    assert "DemoCamera" in named(found.findings)["micro-manager"].text


def test_a_refused_camera_is_described_as_it_was_then_and_loaded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loading a rig's configuration takes a minute and starts its devices anew."""
    call, loaded = PythonCore.call, []

    def counted(self: PythonCore, name: str, *args: object) -> object:
        loaded.extend(args if name == "loadSystemConfiguration" else ())
        return call(self, name, *args)

    monkeypatch.setattr(PythonCore, "call", counted)
    preset = {"Camera": "LowRes"}
    found = inspected(demo(presets=preset, properties={"Camera": {"Nope": "1"}}, buffer_mb=32))
    assert found.refusal is not None
    assert len(loaded) == 1
    told = named(found.findings)
    assert "binning 4 of" in told["micro-manager"].text
    assert told["buffer"].text.startswith("32 MiB")


def test_a_configuration_that_does_not_load_is_loaded_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from livedenoise.micromanager import python_core

    started = []

    def counted(app: Path, file: Path | None, **options: Any) -> PythonCore:
        started.append(file)
        return start_python(app, file, **options)

    monkeypatch.setattr(python_core, "start_python", counted)
    broken = tmp_path / "broken.cfg"
    broken.write_text("Device,Camera,NoSuchAdapter,DCam\n")
    found = inspected(configured(app_path="demo", config_file=str(broken)))
    assert found.refusal is not None
    assert "NoSuchAdapter" in found.refusal.message
    assert started == [broken]
    told = named(found.findings)
    assert set(told) == {"versions", "folder"}
    assert "device interface 75" in told["folder"].text


def test_a_refused_camera_of_a_running_micro_manager_is_described_as_it_was_then(
    bridge: BridgeProcess,
) -> None:
    bridge.user("startContinuousSequenceAcquisition", 5.0)
    found = inspected(configured(backend="java", port=bridge.port))
    assert found.refusal is not None
    assert named(found.findings)["live view"].ok == "problem"
    assert bridge.traffic()["calls"]["connect"] == 1
    assert bridge.user("isSequenceRunning") is True


def test_a_refused_region_stands_beside_what_was_found() -> None:
    found = inspected(demo(roi=[0, 0, 4000, 4000], exposure_us=2000))
    assert found.refusal is not None
    assert found.info is not None
    assert "exposure" in named(found.findings)["micro-manager"].text


def test_an_accepted_camera_is_described_as_a_run_would_have_it() -> None:
    found = inspected(demo(roi=[16, 32, 128, 64], exposure_us=2000, buffer_mb=32))
    assert found.refusal is None
    assert found.prepared is not None
    assert found.prepared.shape == (64, 128)
    told = named(found.findings)
    assert "128x64 at (16, 32)" in told["micro-manager"].text
    assert "32 MiB, 2048 frames" in told["buffer"].text


class Stuck:
    """A camera that cannot put back what it changed; ``broken`` also crashes while it opens."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.closed = broken, 0

    def open(self) -> CameraInfo:
        if self.broken:
            raise RuntimeError("a bug")
        return CameraInfo(name="mm", kind="t", sensor=(1, 1), dtype="<u2", bit_depth=16)

    def prepare(self, request: StreamRequest) -> Prepared:  # noqa: ARG002
        raise CameraError("refused", "mend it")

    def close(self) -> None:
        self.closed += 1
        if not self.broken:
            raise CameraError("the exposure was 10 ms", "set it by hand")


def test_what_could_not_be_put_back_is_said() -> None:
    camera: Any = Stuck()
    found = inspect_camera(camera, demo(), None)
    assert found.refusal is not None
    assert found.refusal.hint == "mend it"
    closed = named(found.findings)["closed"]
    assert (closed.ok, closed.text, closed.mend) == (
        "problem",
        "the exposure was 10 ms",
        "set it by hand",
    )


def test_a_camera_that_crashes_is_closed() -> None:
    camera: Any = Stuck(broken=True)
    with pytest.raises(RuntimeError, match="a bug"):
        inspect_camera(camera, demo(), None)
    assert camera.closed == 1
