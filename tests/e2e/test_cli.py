"""The command line as a user meets it: one process, its output, its exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile

from livedenoise.cli import main

SUMMARY_KEYS = {
    "captured",
    "lost_at_camera",
    "recorded",
    "denoised",
    "passthrough",
    "skipped",
    "dropped",
    "fps_in",
    "fps_out",
    "mb_per_s",
    "latency_ms",
    "conserved",
    "engine",
    "precision",
    "model",
    "run_dir",
}
HOPS = {"camera_to_ring", "ring_to_engine", "inference", "publish", "camera_to_denoised"}


class Demo(NamedTuple):
    """A demo that was run, and where."""

    done: subprocess.CompletedProcess[str]
    cwd: Path


def livedenoise(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "livedenoise", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd
    )


def one_object(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    lines = done.stdout.splitlines()
    assert len(lines) == 1, f"stdout must be one object: {done.stdout!r} / {done.stderr!r}"
    found: dict[str, Any] = json.loads(lines[0])
    return found


def test_demo_denoises_and_records(tmp_path: Path) -> None:
    done = livedenoise("demo", "--frames", "60", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = one_object(done)
    assert summary.keys() >= SUMMARY_KEYS
    assert set(summary["latency_ms"]) == HOPS
    assert set(summary["latency_ms"]["inference"]) >= {"p50", "p99", "p999", "max"}
    assert summary["captured"] == summary["recorded"] == 60
    assert summary["conserved"] is True
    assert summary["denoised"] > 0
    assert summary["model"] == "realtime-m"
    assert Path(summary["run_dir"]).parent == (tmp_path / "runs").resolve()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the demo once, for several looks at it."""
    cwd = tmp_path_factory.mktemp("demo")
    return Demo(livedenoise("demo", "--frames", "20", "--engine", "identity", cwd=cwd), cwd)


def test_demo_prints_where_to_look(demo: Demo) -> None:
    assert demo.done.returncode == 0, demo.done.stderr
    assert "run folder" in demo.done.stdout
    assert "camera to denoised" in demo.done.stdout


def test_replay_is_bit_for_bit_and_every_frame_is_denoised(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    stack = rng.poisson(40, (30, 70, 90)).astype(np.uint16) + 100
    tifffile.imwrite(tmp_path / "movie.tif", stack)
    done = livedenoise("run", "replay", "--input", "movie.tif", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = one_object(done)
    assert summary["captured"] == summary["recorded"] == summary["denoised"] == 30
    run_dir = tmp_path / summary["run_dir"]
    raw = tifffile.imread(sorted(run_dir.glob("raw/*/part-*.tif")))
    np.testing.assert_array_equal(raw.reshape(stack.shape), stack)
    clean = tifffile.imread(sorted(run_dir.glob("clean/*/part-*.tif"))).reshape(stack.shape)
    assert clean.dtype == stack.dtype
    assert clean.std() < 0.5 * stack.std()
    assert clean.mean() == pytest.approx(stack.mean(), rel=0.01)
    assert any("estimated" in note for note in summary["notes"])


def test_a_run_folder_replays(demo: Demo, tmp_path: Path) -> None:
    (first,) = (demo.cwd / "runs").iterdir()
    arguments = ("run", "replay", "--input", first, "--engine", "identity", "--json")
    done = livedenoise(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    again = one_object(done)
    assert again["recorded"] == 20
    pages = [
        tifffile.imread(sorted(folder.glob("raw/*/part-*.tif")))
        for folder in (first, tmp_path / again["run_dir"])
    ]
    np.testing.assert_array_equal(*pages)


def test_first_ctrl_c_drains_with_exit_code_0(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "livedenoise", "demo", "--engine", "identity", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 60
        while not any(f.stat().st_size > 500 for f in tmp_path.glob("runs/*/raw/*/frames.jsonl")):
            assert process.poll() is None
            assert time.monotonic() < deadline, "never recorded"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    summary = json.loads(output)
    assert summary["captured"] == summary["recorded"] > 0


BROKEN = '[[camera]]\nkind = "simulated"\nexposure = 3\n'


def test_wrong_usage_is_exit_code_2_and_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text(BROKEN)
    done = livedenoise("run", "broken.toml", "--json", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in ("broken.toml:camera.0.exposure", "not permitted"):
        assert word in done.stderr
    assert one_object(done)["exit_code"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere.toml"], ["nowhere.toml", "demo"]),
        (["run", "broken.toml"], ["broken.toml:camera.0.exposure", "not permitted"]),
        (["run", "replay"], ["--input"]),
        (["demo", "--model", "nothing"], ["nothing", "realtime-m"]),
        (["demo", "--seconds", "1", "--frames", "1"], ["--seconds", "--frames"]),
    ],
)
def test_every_wrong_usage_is_said_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    """In this process: one of its own for each takes long, and the one above shows its end."""
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text(BROKEN)
    assert main([*arguments, "--json"]) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err
    (line,) = said.out.splitlines()
    assert json.loads(line)["exit_code"] == 2


def test_live_install_imports_no_torch(tmp_path: Path) -> None:
    """The live plane must start on a machine without torch: block it and run."""
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not installed')\n")
    code = (
        "import sys; sys.path.insert(0, '.'); import livedenoise.daemon.run, livedenoise.cli, "
        "livedenoise.acquire.simulated, livedenoise.denoise.serve, livedenoise.record.writer, "
        "livedenoise.engines.openvino_backend; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, timeout=60)
