"""The shipped demonstration camera: its settings are accepted and its constants are true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from livedenoise.acquire.cameras import make_camera, stream_request
from livedenoise.acquire.inspect import inspect_camera
from livedenoise.core.config import MicroManagerCameraConfig, load_config
from livedenoise.micromanager.app_folder import find_app
from livedenoise.micromanager.python_core import PythonCore, start_python

FOLDER = Path(__file__).resolve().parents[2] / "hardware_configs"


@pytest.fixture
def demo() -> MicroManagerCameraConfig:
    camera = load_config(FOLDER / "micromanager_demo.toml").camera[0]
    assert isinstance(camera, MicroManagerCameraConfig)
    return camera


@pytest.fixture
def core(demo: MicroManagerCameraConfig) -> Iterator[PythonCore]:
    app = find_app("demo")
    core = start_python(app, app / str(demo.config_file), buffer_mb=16)
    for name, value in demo.properties["Camera"].items():
        core.set_property("Camera", name, str(value))
    core.call("setExposure", (demo.exposure_us or 0) / 1000)
    yield core
    core.close()


def test_the_demo_opens_and_has_nothing_to_mend(demo: MicroManagerCameraConfig) -> None:
    found = inspect_camera(make_camera(demo), demo, None)
    assert found.refusal is None
    assert found.prepared is not None
    assert found.prepared.shape == (512, 512)
    assert found.prepared.exposure_us == stream_request(demo, None).exposure_us == 10_000
    assert {finding.ok for finding in found.findings} == {"ok"}


def test_the_demo_has_the_constants_it_states(
    demo: MicroManagerCameraConfig, core: PythonCore
) -> None:
    constants = demo.constants
    assert constants is not None
    first, second = (core.snap().pixels.astype(float) for _ in range(2))
    signal_e = (first.mean() - constants.offset_adu) * constants.gain_e_per_adu
    # Photon flux times exposure.
    assert signal_e == pytest.approx(50.0, abs=0.2)
    variance_e2 = np.var(second - first) / 2 * constants.gain_e_per_adu**2
    # Two truncations to whole counts add 1/12 each.
    expected_e2 = signal_e + constants.read_noise_e**2 + 2 / 12 * constants.gain_e_per_adu**2
    assert variance_e2 == pytest.approx(expected_e2, rel=0.02)
