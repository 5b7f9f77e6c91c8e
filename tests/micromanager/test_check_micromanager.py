"""`livedenoise check` on configurations of Micro-Manager, with real child processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bridge.client import BridgeProcess

from livedenoise.core.check_facts import CheckReport, Finding
from livedenoise.core.config import Config, parse_config
from livedenoise.core.errors import EXIT_CAMERA, StageError
from livedenoise.daemon.bring_up import OPEN_TIMEOUT_S
from livedenoise.daemon.options import RunOptions, with_options
from livedenoise.daemon.preflight.check import Preflight
from livedenoise.daemon.preflight.probes import Answer, Job, Probes

DEMO = {"app_path": "demo", "config_file": "MMConfig_demo.cfg"}
CLOSED_PORT = 18_199


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    """Return the module's bridge: no test here kills it."""
    return calm_bridge


def config_of(**camera: Any) -> Config:
    section = {"kind": "micromanager", "name": "mm", "exposure_us": 2000} | camera
    return parse_config(
        {"camera": [section], "denoise": {"engine": "identity"}, "record": {"clean": False}}, "test"
    )


def java_of(bridge: BridgeProcess, **camera: Any) -> Config:
    return config_of(backend="java", port=bridge.port, call_timeout_s=2.0, **camera)


def check(config: Config, out: Path) -> CheckReport:
    options = RunOptions(out=out)
    return Preflight(with_options(config, options), options, quick=True).run()


def cameras(report: CheckReport) -> dict[str, Finding]:
    return {found.name: found for found in report.findings if found.group == "cameras"}


def problems(report: CheckReport) -> set[str]:
    return {found.name for found in report.findings if found.ok == "problem"}


def test_the_demo_is_described_from_versions_to_its_way(tmp_path: Path) -> None:
    report = check(config_of(**DEMO, buffer_mb=64), tmp_path)
    found = cameras(report)
    assert problems(report) == set()
    assert "device interface 75" in found["mm: versions"].text
    assert "64 MiB, 128 frames" in found["mm: buffer"].text
    assert found["mm: live view"].ok == "ok"
    assert "own, python" in found["mm: path"].text
    assert "512x512" in found["mm"].text


def test_a_running_micro_manager_is_measured_and_left_as_it_was(
    bridge: BridgeProcess, tmp_path: Path
) -> None:
    bridge.user("setExposure", 20.0)
    report = check(java_of(bridge), tmp_path)
    found = cameras(report)
    assert problems(report) == set()
    assert f"127.0.0.1:{bridge.port} answers, server version 5.1.0" in found["mm: port"].text
    assert "own, java" in found["mm: path"].text
    assert "ceiling" in found["mm: path"].text
    assert bridge.user("getExposure") == pytest.approx(20.0)
    assert bridge.user("isSequenceRunning") is False


def test_a_live_view_that_runs_is_a_problem_for_own_and_goes_on(
    bridge: BridgeProcess, tmp_path: Path
) -> None:
    bridge.user("startContinuousSequenceAcquisition", 5.0)
    report = check(java_of(bridge), tmp_path)
    found = cameras(report)
    assert problems(report) == {"mm", "mm: live view"}
    assert 'mode = "tap"' in found["mm: live view"].mend
    assert bridge.user("isSequenceRunning") is True


def test_a_tapped_live_view_is_checked_and_goes_on(bridge: BridgeProcess, tmp_path: Path) -> None:
    bridge.user("startContinuousSequenceAcquisition", 5.0)
    report = check(java_of(bridge, mode="tap", exposure_us=None), tmp_path)
    found = cameras(report)
    assert problems(report) == set()
    assert found["mm: live view"].text == "runs, and is only watched"
    assert "tap, java" in found["mm: path"].text
    assert bridge.user("isSequenceRunning") is True


def test_a_refusal_stands_beside_what_was_found(tmp_path: Path) -> None:
    report = check(config_of(**DEMO, properties={"Camera": {"Nope": "1"}}), tmp_path)
    found = cameras(report)
    assert problems(report) == {"mm"}
    assert "Nope" in found["mm"].text
    assert "DemoCamera" in found["mm: micro-manager"].text
    assert report.exit_code == 2


def test_a_core_that_cannot_be_had_still_tells_versions_and_port_and_says_it_once(
    tmp_path: Path,
) -> None:
    report = check(config_of(backend="java", port=CLOSED_PORT), tmp_path)
    found = cameras(report)
    assert problems(report) == {"mm: port"}
    assert f"closed: nothing listens on 127.0.0.1:{CLOSED_PORT}" in found["mm: port"].text
    assert "pycromanager 1.0.2" in found["mm: versions"].text
    assert report.exit_code == 2


def test_a_camera_may_take_as_long_to_open_as_in_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A rig's devices take a minute; a camera that cools down takes longer."""
    given: list[float] = []

    def ask(self: Probes, jobs: list[Job], timeout_s: float) -> dict[str, Answer]:
        given.append(timeout_s)
        return {job.name: StageError("refused", EXIT_CAMERA, "mend it") for job in jobs}

    monkeypatch.setattr(Probes, "ask", ask)
    check(config_of(**DEMO), tmp_path)
    assert given == [OPEN_TIMEOUT_S]
