"""Pixel processing that is on is found; what only moves pixels is not reported."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from livedenoise.micromanager.app_folder import find_app
from livedenoise.micromanager.processing import processing_in_use
from livedenoise.micromanager.processing_rules import RULES
from livedenoise.micromanager.python_core import PythonCore, start_python

CONFIG = "MMConfig_demo.cfg"


class FakeCore(PythonCore):
    """A camera of any adapter: properties as that adapter names them. Only reads are answered."""

    def __init__(self, library: str, properties: dict[str, str]) -> None:
        self.libraries = {"Cam": library}
        self.properties = {"Cam": properties}

    def call(self, name: str, *args: object) -> object:
        device = str(args[0]) if args else ""
        match name:
            case "getDeviceLibrary":
                return self.libraries[device]
            case "getDevicePropertyNames":
                return list(self.properties[device])
            case "getProperty":
                return self.properties[device][str(args[1])]
            case "getImageProcessorDevice":
                return ""
        raise AssertionError(f"{name} is not a read")


@pytest.fixture
def core() -> Iterator[PythonCore]:
    app = find_app("demo")
    core = start_python(app, app / CONFIG, buffer_mb=16)
    yield core
    core.close()


# As read back from two Kinetix22 and a Prime 95B: see the sources named in processing_rules.py.
KINETIX = {
    "Binning": "1x1",
    "FrameSummingEnabled": "No",
    "CentroidsEnabled": "No",
    "Color": "OFF",
    "PP  0 DESPECKLE BRIGHT LOW": "DESPECKLE BRIGHT LOW",
    "PP  1 DESPECKLE BRIGHT HIGH": "DESPECKLE BRIGHT HIGH",
    "PP  1   ENABLED": "Yes",
    "PP  1   THRESHOLD": "125",
    "PP  2   ENABLED": "No",
    "PP  4 LARGE CLUSTER CORRECTION": "LARGE CLUSTER CORRECTION",
    "PP  5   ENABLED": "Yes",
    "PP  7 Reset": "No",
}


def test_despeckle_is_found_by_its_name_and_the_mend_switches_it_off() -> None:
    first, second = processing_in_use(FakeCore("PVCAM", KINETIX), "Cam")
    assert (first.property, first.value) == ("PP  1   ENABLED", "Yes")
    assert first.does.startswith("DESPECKLE BRIGHT LOW: ")
    assert '"Cam" = { "PP  1   ENABLED" = "No" }' in first.mend
    assert second.does.startswith("LARGE CLUSTER CORRECTION: ")


@pytest.mark.parametrize(
    ("library", "name", "on", "off"),
    [
        ("PVCAM", "FrameSummingEnabled", "Yes", "No"),
        ("PVCAM", "CentroidsEnabled", "Yes", "No"),
        ("PVCAM", "Color", "ON", "OFF"),
        ("PVCAM", "PP 12   ENABLED", "1", "0"),
        ("AndorSDK3", "SpuriousNoiseFilter", "On", "Off"),
        ("AndorSDK3", "StaticBlemishCorrection", "On", "Off"),
        ("AndorSDK3", "AccumulateCount", "4", "1"),
        ("Andor", "SpuriousNoiseFilter", "Median", "None"),
        ("HamamatsuHam", "DEFECT CORRECT MODE", "ON", "OFF"),
        ("HamamatsuHam", "FRAME AVERAGING MODE", "ON", "OFF"),
        ("HamamatsuHam", "SENSOR MODE", "PHOTON NUMBER RESOLVING", "AREA"),
        ("PCO_Camera", "Noisefilter", "On", "Off"),
        ("DemoCamera", "DropPixels", "1", "0"),
    ],
)
def test_each_adapter_has_its_switches(library: str, name: str, on: str, off: str) -> None:
    (found,) = processing_in_use(FakeCore(library, {name: on, "Gain": "1"}), "Cam")
    assert (found.property, found.value) == (name, on)
    assert found.mend
    assert processing_in_use(FakeCore(library, {name: off, "Gain": "1"}), "Cam") == ()


def test_the_same_name_of_another_adapter_means_nothing() -> None:
    assert processing_in_use(FakeCore("AndorSDK3", {"Noisefilter": "On"}), "Cam") == ()
    assert processing_in_use(FakeCore("SomeCamera", {"DropPixels": "1"}), "Cam") == ()


def test_cameras_behind_a_multi_camera_are_looked_at() -> None:
    core = FakeCore("Utilities", {"Physical Camera 1": "Blue", "Physical Camera 2": "Undefined"})
    core.libraries["Blue"] = "PCO_Camera"
    core.properties["Blue"] = {"Noisefilter": "On"}
    (found,) = processing_in_use(core, "Cam")
    assert found.device == "Blue"


def test_every_rule_has_a_source_and_one_kind_of_values() -> None:
    for rule in RULES:
        assert bool(rule.harmless) != bool(rule.harmful)
        assert rule.does
        assert rule.source
        assert re.compile(rule.pattern)


def test_the_demo_camera_has_none_until_it_is_switched_on(core: PythonCore) -> None:
    core.set_property("Camera", "TransposeMirrorX", "1")
    assert processing_in_use(core, "Camera") == ()
    core.set_property("Camera", "SaturatePixels", "1")
    (found,) = processing_in_use(core, "Camera")
    assert (found.device, found.property, found.value) == ("Camera", "SaturatePixels", "1")


def test_an_image_processor_of_the_core_is_found(core: PythonCore) -> None:
    for label, name in (("Flip", "ImageFlipX"), ("Median", "MedianFilter")):
        core.call("loadDevice", label, "DemoCamera", name)
        core.call("initializeDevice", label)
    core.call("setImageProcessorDevice", "Flip")
    assert processing_in_use(core, "Camera") == ()
    core.call("setImageProcessorDevice", "Median")
    (found,) = processing_in_use(core, "Camera")
    assert (found.device, found.value) == ("Median", "DemoCamera MedianFilter")
