"""A whole run on a live view behind the bridge: daemon, stages, recording."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.client import BridgeProcess

from livedenoise.core.config import Config
from livedenoise.daemon.summary import Summary
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]


def tap_config(bridge: BridgeProcess, **values: Any) -> Config:
    camera = {"kind": "micromanager", "name": "scope", "backend": "java", "mode": "tap"}
    config = small_config()
    data = config.model_dump(exclude_unset=True, mode="json")
    data["camera"] = [camera | {"port": bridge.port, "sensor_px": (512, 512)} | values]
    data["ring"] = {"memory_mb": 64, "max_slots": 64}
    return Config.model_validate(data)


def begin_live(bridge: BridgeProcess) -> None:
    bridge.user("setProperty", "Camera", "FastImage", "1")
    bridge.user("setROI", 16, 8, 64, 48)
    bridge.user("setExposure", 10.0)
    bridge.order("live", on=True)


def lines(summary: Summary, kind: str) -> list[dict[str, Any]]:
    """Return the sidecar's lines of one kind."""
    (sidecar,) = Path(summary.run_dir).glob("raw/*/frames.jsonl")
    found = [json.loads(line) for line in sidecar.read_text().splitlines()]
    return [line for line in found if line["kind"] == kind]


def test_a_region_changed_in_the_window_is_a_new_epoch_of_the_recording(
    bridge: BridgeProcess, start: Start
) -> None:
    begin_live(bridge)
    run = start(tap_config(bridge))
    run.until(lambda snapshot: snapshot.streams[0].captured >= 10)
    bridge.order("live", on=False)
    bridge.user("setROI", 0, 0, 32, 24)
    bridge.user("setExposure", 5.0)
    before = run.snapshots[-1].streams[0].captured
    bridge.order("live", on=True)
    run.until(lambda snapshot: snapshot.streams[0].captured >= before + 20)
    run.daemon.request_stop()
    summary = run.result()
    assert (summary.exit_code, summary.errors, summary.conserved) == (0, [], True)
    epochs = [(line["height"], line["width"], line["roi_x"]) for line in lines(summary, "epoch")]
    assert epochs == [(48, 64, 16), (24, 32, 0)]
    exposures = {(line["epoch"], line["exposure_us"]) for line in lines(summary, "frame")}
    assert exposures == {(0, 10_000), (1, 5_000)}
    assert bridge.state()["running"], "the live view goes on"


def test_micro_manager_dying_ends_the_run_and_keeps_the_recording(
    bridge: BridgeProcess, start: Start
) -> None:
    begin_live(bridge)
    run = start(tap_config(bridge))
    run.until(lambda snapshot: snapshot.streams[0].captured >= 10)
    bridge.kill()
    summary = run.result()
    assert summary.exit_code == 3
    assert "went away" in summary.errors[0]
    assert f"Run server on port {bridge.port}" in summary.errors[0]
    assert summary.conserved
    assert summary.recorded == summary.captured == len(lines(summary, "frame")) >= 10
