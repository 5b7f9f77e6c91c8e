"""Frames from another program through a whole run: every one recorded, bit-exact, in order."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from network_kit import SHAPE, numbered, server_folder

from livedenoise.client import FrameSender
from livedenoise.core.config import Config
from livedenoise.daemon.summary import Summary
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "send_frames.py"


def free_endpoint() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"tcp://127.0.0.1:{found.getsockname()[1]}"


def network_run_config(listen: str, **camera: Any) -> Config:
    """Return a small run, identity engine, raw recording, whose camera listens at ``listen``."""
    data = small_config().model_dump(mode="json")
    facts = {
        "kind": "network",
        "name": "net",
        "listen": listen,
        "width_px": SHAPE[1],
        "height_px": SHAPE[0],
        "constants": {"gain_e_per_adu": 0.5, "offset_adu": 0.0, "read_noise_e": 1.0},
    }
    data["camera"] = [facts | camera]
    return Config.model_validate(data)


def recorded(summary: Summary) -> np.ndarray:
    parts = sorted((Path(summary.run_dir) / "raw" / "net").glob("part-*.tif"))
    return np.concatenate([tifffile.imread(part) for part in parts])


def test_every_frame_sent_is_recorded_bit_exact_in_order(start: Start) -> None:
    endpoint = free_endpoint()
    run = start(network_run_config(endpoint), frames=100)
    with FrameSender(endpoint) as sender:
        assert sender.wait_ready(20)
        for number in range(100):
            assert sender.send(numbered(number), exposure_us=5000, timeout_s=5)
        assert sender.flush(5)
        assert sender.counts().taken == 100
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert summary.captured == summary.recorded == 100
    assert summary.lost_at_camera == 0
    assert summary.denoised + summary.passthrough + summary.skipped == 100
    np.testing.assert_array_equal(recorded(summary), np.stack([numbered(n) for n in range(100)]))


def test_senders_come_and_go_during_a_run_with_keys(start: Start, tmp_path: Path) -> None:
    endpoint = free_endpoint()
    folder = server_folder(tmp_path / "keys", "one")
    run = start(network_run_config(endpoint, keys=str(folder)))
    for session in range(2):
        with FrameSender(endpoint, keys=folder / "for-one") as sender:
            assert sender.wait_ready(20)
            for number in range(10):
                # The second one starts at another number, and loses one on the way.
                given = {"camera_seq": 500 * session + number + (number > 4) * session}
                assert sender.send(numbered(10 * session + number), timeout_s=5, **given)
    run.until(lambda s: s.streams[0].recorded == 20)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert (summary.captured, summary.recorded, summary.lost_at_camera) == (20, 20, 1)
    np.testing.assert_array_equal(recorded(summary), np.stack([numbered(n) for n in range(20)]))


def test_the_example_sends_to_a_run(start: Start) -> None:
    endpoint = free_endpoint()
    run = start(network_run_config(endpoint), frames=20)
    command = [sys.executable, str(EXAMPLE), endpoint, "--frames", "20", "--rate", "500"]
    size = ["--size", *map(str, SHAPE)]
    done = subprocess.run(
        [*command, *size], capture_output=True, text=True, timeout=60, check=False
    )
    summary = run.result()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 of 20 frames taken")
    assert summary.recorded == 20
    lines = (Path(summary.run_dir) / "raw" / "net" / "frames.jsonl").read_text().splitlines()
    sidecar = [json.loads(line) for line in lines]
    assert sum("10000" in json.dumps(line) for line in sidecar) >= 20


def test_a_camera_that_waits_for_its_sender_is_not_stalled(start: Start) -> None:
    endpoint = free_endpoint()
    config = network_run_config(endpoint)
    status = config.status.model_copy(update={"stall_timeout_s": 0.3})
    run = start(config.model_copy(update={"status": status}))
    with FrameSender(endpoint) as sender:
        assert sender.send(numbered(0), timeout_s=20)
        run.until(lambda s: s.streams[0].captured == 1)
        elapsed_s = run.snapshots[-1].elapsed_s
        run.until(lambda s: s.elapsed_s > elapsed_s + 0.8)
        assert sender.send(numbered(1), timeout_s=5)
        run.until(lambda s: s.streams[0].captured == 2)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors, summary.recorded) == (0, [], 2)


def test_a_camera_that_waited_in_vain_is_in_the_notes(start: Start) -> None:
    run = start(network_run_config(free_endpoint()))
    run.until(lambda snapshot: snapshot.state == "running")
    run.daemon.request_stop()
    assert "net: no frame came: nobody sent one" in run.result().notes


def test_a_sender_that_counts_anew_is_in_the_notes(start: Start) -> None:
    endpoint = free_endpoint()
    run = start(network_run_config(endpoint), frames=6)
    with FrameSender(endpoint) as sender:
        assert sender.wait_ready(20)
        for number in (0, 1, 2, 0, 1, 2):
            assert sender.send(numbered(number), camera_seq=number, timeout_s=5)
        assert sender.flush(5)
    summary = run.result()
    assert (summary.exit_code, summary.recorded) == (0, 6)
    assert [n for n in summary.notes if n.startswith("net: the camera began to count anew: ")]
