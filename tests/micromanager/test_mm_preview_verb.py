"""``livedenoise mm-preview``: shared frames reach the preview behind the (test) bridge."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from bridge.client import BridgeProcess
from waiting import wait_until

from livedenoise.bus.context import new_context
from livedenoise.bus.publish import FramePublisher
from livedenoise.core.errors import EXIT_ABORTED, EXIT_CAMERA
from livedenoise.core.frame import FrameHeader

COMMAND = [sys.executable, "-m", "livedenoise", "mm-preview", "--json"]


def header(seq: int, pixels: np.ndarray) -> FrameHeader:
    numbers = dict.fromkeys(
        [
            "epoch",
            "camera_seq",
            "t_camera_ns",
            "t_ring_ns",
            "t_infer_start_ns",
            "t_infer_end_ns",
            "t_publish_ns",
            "roi_x",
            "roi_y",
            "channel",
            "exposure_us",
            "slot",
            "generation",
            "ring_epoch",
        ],
        0,
    )
    return FrameHeader(
        **numbers,
        run_id="r",
        camera="scope",
        stream="clean",
        seq=seq,
        t_host_ns=1,
        height=pixels.shape[0],
        width=pixels.shape[1],
        dtype=pixels.dtype.str,
        bit_depth=16,
        binning=1,
        calibration="",
        model="",
    )


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_shared_frames_are_shown_until_it_is_ended(
    end: signal.Signals, bridge: BridgeProcess
) -> None:
    before = bridge.state()["display_count"]
    pixels = (np.arange(512 * 512).reshape(512, 512) % 4096).astype(np.uint16)
    context = new_context()
    publisher = FramePublisher(context, "tcp://127.0.0.1:*")
    options = ["--port", str(bridge.port), "--frames", publisher.endpoint, "--max-hz", "50"]
    verb = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True)
    seq = 0

    def shown() -> bool:
        nonlocal seq
        publisher.publish(header(seq, pixels), pixels)
        seq += 1
        return bridge.state()["display_count"] >= before + 3

    try:
        wait_until(shown, 20)
        verb.send_signal(end)
        said, _ = verb.communicate(timeout=10)
    finally:
        verb.kill()
        verb.wait(10)
        publisher.close()
        context.term()
    assert verb.returncode == 0
    assert json.loads(said)["shown"] == bridge.state()["display_count"] - before
    assert {one["crc32"] for one in bridge.state()["displayed"]} == {zlib.crc32(pixels.tobytes())}


def test_without_micro_manager_it_says_so_and_ends(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--port", "4899"], capture_output=True, text=True, timeout=30, cwd=tmp_path,
        check=False,
    )  # fmt: skip
    assert done.returncode == EXIT_CAMERA
    assert "nothing listens on 127.0.0.1:4899" in done.stdout + done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_it_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = str(mute.getsockname()[1])
        verb = subprocess.Popen(
            [*COMMAND, "--port", port, "--timeout", "60"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            mute.settimeout(20)
            caller, _ = mute.accept()
            with caller:
                verb.send_signal(signal.SIGINT)
                verb.communicate(timeout=10)
        finally:
            verb.kill()
            verb.wait(10)
    assert verb.returncode == EXIT_ABORTED


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_it_says_once_why_nothing_is_shown(bridge: BridgeProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    options = ["--port", str(bridge.port), "--frames", endpoint]
    verb = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert verb.stderr is not None
        said = verb.stderr.readline()
        verb.send_signal(signal.SIGINT)
        out, rest = verb.communicate(timeout=10)
    finally:
        verb.kill()
        verb.wait(10)
    assert "no frame came" in said
    assert "[share] enabled = true" in said
    assert rest == ""
    assert (verb.returncode, json.loads(out)["shown"]) == (0, 0)
