"""The preflight with real processes, rings, files and ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
import tifffile
from waiting import wait_until

from livedenoise import cli
from livedenoise.core.calibration import write_calibration
from livedenoise.core.check_facts import CheckReport, Finding
from livedenoise.core.clock import now_ns
from livedenoise.core.config import Config, load_config, parse_config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import EXIT_ABORTED, LiveDenoiseError, StageError
from livedenoise.daemon import plan
from livedenoise.daemon.options import RunOptions, with_options
from livedenoise.daemon.preflight import check, limits, probes
from livedenoise.daemon.preflight.check import Preflight
from livedenoise.daemon.preflight.probes import Job, Probes
from livedenoise.daemon.preflight.readings import Readings, read_machine
from livedenoise.hardware import shipped_configs
from livedenoise.testing.live import small_config
from livedenoise.testing.tiny_package import write_tiny_package
from livedenoise.verbs import checking


@pytest.fixture(autouse=True)
def short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RING_S", "RECORDER_S", "ENGINE_S"):
        monkeypatch.setattr(limits, name, 0.2)
    monkeypatch.setattr(limits, "MAX_BYTES", 8 << 20)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> None:
    if checking not in cli._GROUPS:
        monkeypatch.setattr(cli, "_GROUPS", (*cli._GROUPS, checking))


def run(config: Config, out: Path, **settings: Any) -> CheckReport:
    options = RunOptions(out=out)
    return Preflight(with_options(config, options), options, **settings).run()


def problems(report: CheckReport) -> dict[str, Finding]:
    return {found.name: found for found in report.findings if found.ok == "problem"}


def roomy(out: Path, **changes: Any) -> Readings:
    """Return a machine with room for everything, so that only what is checked can fail."""
    room = {"shared_memory_free": 1 << 44, "memory_available": 1 << 44, "disk_free": 1 << 50}
    return msgspec.structs.replace(read_machine(out), **room | changes)


def test_every_stage_of_a_small_rig_is_measured_and_nothing_is_left(tmp_path: Path) -> None:
    package = write_tiny_package(tmp_path / "model")
    config = small_config(
        denoise={"engine": "onnxruntime", "model": f"{package}/"}, record={"clean": True}
    )
    out = tmp_path / "out"
    out.mkdir()
    report = run(config, out)
    rows = {row.stage: row for row in report.ceilings}
    assert set(rows) >= {"camera to ring", "messages", "recorder", "denoiser"}
    assert all(row.fps > 0 and row.needs_fps == pytest.approx(200) for row in rows.values())
    assert sum(row.limits for row in rows.values()) == 1
    assert rows["recorder"].mb_per_s == pytest.approx(rows["recorder"].fps * 2 * 64 * 48 * 2e-6)
    assert rows["denoiser"].mb_per_s == pytest.approx(rows["denoiser"].fps * 64 * 48 * 2e-6)
    assert rows["messages"].mb_per_s == 0
    assert [one.camera for one in report.verdicts] == ["sim"]
    assert problems(report) == {}
    assert any(found.name == "sim: opened" for found in report.findings)
    assert list(out.iterdir()) == []


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    cameras = [
        {"kind": "replay", "name": "none"},
        {"kind": "replay", "name": "gone", "input": str(tmp_path / "gone.tif")},
        {"kind": "network", "name": "open", "listen": "tcp://0.0.0.0:5570"}
        | {"width_px": 64, "height_px": 48},
    ]
    data = {"camera": cameras, "denoise": {"model": "no-such-model"}}
    report = run(parse_config(data, "test"), file, quick=True)
    found = problems(report)
    assert set(found) == {"none", "gone", "camera open", "model", "folder"}
    assert "--input" in found["none"].mend
    assert "gone.tif" in found["gone"].text
    assert report.exit_code == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_camera_that_hangs_is_given_up_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "stack.tif"
    os.mkfifo(pipe)  # opening it waits for a writer who never comes
    good = small_config().camera[0]
    hangs = parse_config({"camera": [{"kind": "replay", "input": str(pipe)}]}, "test").camera[0]
    jobs = [
        Job(name=name, entry=plan.ACQUIRE, settings={"run_id": "t", "camera": camera})
        for name, camera in (
            ("hangs", hangs.model_dump(mode="json")),
            ("good", good.model_dump(mode="json")),
        )
    ]
    with Probes() as asked:
        # The time-out comes when the other camera has answered, however slow this machine is.
        monkeypatch.setattr(
            probes,
            "now_ns",
            lambda: (
                now_ns() + (10**12 if "good" in asked._open and asked._open["good"].answer else 0)
            ),
        )
        answers = asked.ask(jobs, 60.0)
    assert isinstance(answers["good"], dict)
    assert answers["good"]["prepared"]["shape"] == [48, 64]
    assert isinstance(answers["hangs"], StageError)
    assert "no answer within 60 s" in answers["hangs"].message


def test_a_child_that_dies_without_a_word_is_an_answer() -> None:
    job = Job(name="dies", entry="livedenoise.no_such_module:Stage", settings={})
    with Probes() as probes:
        answer = probes.ask([job], 10.0)["dies"]
    assert isinstance(answer, LiveDenoiseError)
    assert "no_such_module" in answer.hint


def test_a_calibration_of_another_size_is_a_problem(tmp_path: Path) -> None:
    constants = CameraConstants(gain_e_per_adu=0.5, offset_adu=100, read_noise_e=1.0)
    folder = tmp_path / "calibration"
    write_calibration(folder, constants, camera="sim", sensor=(10, 12), bit_depth=16)
    report = run(small_config(camera={"calibration": str(folder)}), tmp_path, quick=True)
    assert "(10, 12)" in problems(report)["sim: constants"].text


def test_rings_beyond_the_machine_are_a_problem(tmp_path: Path) -> None:
    small = roomy(tmp_path, shared_memory_free=1 << 20)
    report = run(small_config(), tmp_path, quick=True, readings=small)
    assert set(problems(report)) == {"shared memory"}
    tiny = run(small_config(ring={"memory_mb": 1}, camera={"sensor": {}}), tmp_path, quick=True)
    assert "ring.memory_mb" in problems(tiny)["sim: rings"].mend


def test_a_folder_that_cannot_be_written_does_not_stop_the_measurement(tmp_path: Path) -> None:
    blocked = roomy(tmp_path, folder_error="Read-only file system")
    report = run(small_config(), tmp_path, readings=blocked)
    assert set(problems(report)) == {"folder"}
    stages = {row.stage for row in report.ceilings}
    assert "recorder" not in stages
    assert {"camera to ring", "denoiser"} <= stages


@pytest.fixture
def free_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every port be free: another program of this machine may have the shipped ones."""
    monkeypatch.setattr(check, "try_port", lambda _: "")


@pytest.mark.usefixtures("free_ports")
@pytest.mark.parametrize("name", ["demo", "two_cameras", "network"])
def test_a_shipped_configuration_passes(name: str, tmp_path: Path) -> None:
    report = run(
        load_config(shipped_configs()[name]), tmp_path, quick=True, readings=roomy(tmp_path)
    )
    assert problems(report) == {}
    assert report.exit_code == 0


def test_the_shipped_replay_needs_nothing_but_an_input(tmp_path: Path) -> None:
    config = load_config(shipped_configs()["replay"])
    report = run(config, tmp_path, quick=True, readings=roomy(tmp_path))
    assert set(problems(report)) == {"replay"}
    assert "--input" in problems(report)["replay"].mend


@pytest.mark.usefixtures("verb")
def test_json_is_one_object_with_findings_and_ceilings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", np.ones((8, 32, 32), np.uint16))
    arguments = ["check", "replay", "--input", str(tmp_path / "movie.tif"), "--json"]
    code = cli.main([*arguments, "--engine", "identity", "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    found = json.loads(lines[0])
    assert code == found["exit_code"] == 0
    assert {"group", "name", "ok", "text", "mend"} == set(found["findings"][0])
    assert {row["stage"] for row in found["ceilings"]} >= {"recorder", "denoiser"}
    assert "nothing is lost" in found["verdicts"][0]["text"]


@pytest.mark.usefixtures("verb")
def test_configuration_errors_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[[camera]]\nkind = "simulated"\nexposure_us = -1\nrate = 5\n')
    assert cli.main(["check", str(file)]) == 2
    shown = capsys.readouterr().err
    assert "camera.0.exposure_us" in shown
    assert "camera.0.rate" in shown


INTERRUPTED = """
import sys
from livedenoise import cli
from livedenoise.verbs import checking
if checking not in cli._GROUPS:
    cli._GROUPS = (*cli._GROUPS, checking)
from livedenoise.daemon.preflight import limits
limits.RECORDER_S, limits.MAX_BYTES = 30.0, 1 << 40
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def measuring(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a check that writes for long, with every frame on the disk at once."""
    file = tmp_path / "rig.toml"
    file.write_text(
        'name = "rig"\n[[camera]]\nkind = "simulated"\nrate_hz = 50.0\nexposure_us = 1000\n'
        "[camera.sensor]\nwidth_px = 64\nheight_px = 64\n"
        '[denoise]\nengine = "identity"\n[record]\nfsync_every = 1\n'
    )
    command = [sys.executable, "-c", INTERRUPTED, "check", str(file), "--out", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_while_measuring_leaves_nothing(
    measuring: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    wait_until(lambda: list(tmp_path.glob(".livedenoise-check-*/stream/part-*")), 20.0)
    children = psutil.Process(measuring.pid).children()
    assert children
    os.killpg(measuring.pid, signal.SIGINT)  # a terminal sends it to the children too
    assert measuring.wait(10.0) == EXIT_ABORTED
    assert [path.name for path in tmp_path.iterdir()] == ["rig.toml"]
    assert not any(child.is_running() for child in children)
