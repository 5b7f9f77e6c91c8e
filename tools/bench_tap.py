"""A tapped live view: frames missed, CPU, and what the view's owner notices of it.

    python tools/bench_tap.py --out tap.json

Each row is a process of its own: a real MMCore with the DemoCamera (FastImage) in continuous
sequence, for ``seconds``, with and without a tap that sends to a network camera in another process.
``camera_fps`` is what the camera achieved, ``missed`` what the tap did not find in the core,
``taken`` what arrived. CPU is that of the whole process (camera threads, owner, tap), in percent of
one core; the tap's is the difference between the rows. ``owner`` is a thread of the user's that
works on the same core every 10 ms as a viewer does: time of ``getLastImageMD`` or, in rows with
``pop``, of taking every frame out; ``late_ms`` is how much later than asked it was woken.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import busy, machine_facts, write_json

import livedenoise
from livedenoise.acquire.network import NetworkCamera
from livedenoise.client.tapping import Tap
from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import NetworkCameraConfig
from livedenoise.core.frame import Frame

OWNER_S = 0.01
_NOBODY = "tcp://127.0.0.1:9"
ROWS = (
    # pixels per edge, exposure in ms, poll in ms, does the owner pop, share of the run's length
    (512, 10.0, 5.0, False, 1.0),
    (512, 10.0, 5.0, True, 0.5),
    (512, 1.0, 5.0, False, 0.5),
    (512, 1.0, 1.0, False, 0.5),
    (2048, 10.0, 5.0, False, 0.5),
)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tap.json"))
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    facts = machine_facts()
    facts["versions"] |= {name: metadata.version(name) for name in ("pymmcore", "mm-test-adapters")}
    rows = []
    for size, exposure_ms, poll_ms, pops, share in ROWS:
        # To nobody: what looking costs without sending.
        for sends_to in ("", "nobody", "a camera") if share == 1 else ("", "a camera"):
            row = {
                "size": size,
                "exposure_ms": exposure_ms,
                "owner_pops": pops,
                "tapped_to": sends_to,
                "poll_ms": poll_ms if sends_to else None,
            }
            row |= _measure(row, arguments.seconds * share)
            rows.append(row)
            print(row)
    write_json(arguments.out, {"machine": facts, "rows": rows, "busy_after": busy()})


def _measure(row: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the figures of one live view, in a process that has seen no other."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = multiprocessing.Pipe()
    taker_ours, taker_theirs = multiprocessing.Pipe()
    taker = context.Process(target=_take, args=(taker_theirs, row["size"]))
    taker.start()
    endpoint = taker_ours.recv()
    view = context.Process(target=_view, args=(theirs, row, seconds, endpoint))
    view.start()
    try:
        if not ours.poll(seconds + 30):
            raise TimeoutError(f"no figures of {row}")
        found: dict[str, Any] = ours.recv()
    finally:
        taker_ours.send(None)
        view.join(30)
        taker.join(30)
    return found


def _take(pipe: Connection, size: int) -> None:
    """Take frames as the daemon's acquire stage does, into one buffer, until told to end."""
    config = NetworkCameraConfig(
        kind="network", listen="tcp://127.0.0.1:*", width_px=size, height_px=size
    )
    camera = NetworkCamera(config)
    camera.open()
    camera.prepare(StreamRequest(exposure_us=0))
    camera.start()
    camera.on_idle = lambda: camera.stop() if pipe.poll(0) else None
    pipe.send(camera.endpoint)
    slot: Frame = np.zeros((size, size), np.uint16)
    for _ in camera.frames(lambda *_: slot):
        pass
    camera.close()


def _view(pipe: Connection, row: dict[str, Any], seconds: float, endpoint: str) -> None:
    core = _live_core(row["size"], row["exposure_ms"])
    tap = None
    if row["tapped_to"]:
        endpoint = _NOBODY if row["tapped_to"] == "nobody" else endpoint
        tap = livedenoise.tap(core, endpoint, poll_ms=row["poll_ms"], max_queue=16)
        time.sleep(1.0)  # the connection is made
    core.startContinuousSequenceAcquisition(0)
    time.sleep(0.5)
    pipe.send(_watch(core, tap, seconds, pops=row["owner_pops"]))
    core.stopSequenceAcquisition()
    if tap is not None:
        tap.stop()


def _live_core(size: int, exposure_ms: float) -> Any:  # noqa: ANN401 - pymmcore has no types
    import mm_test_adapters
    import pymmcore

    core = pymmcore.CMMCore()
    folder = mm_test_adapters.device_adapter_path()
    core.setDeviceAdapterSearchPaths([folder])
    core.loadSystemConfiguration(f"{folder}/MMConfig_demo.cfg")
    core.setProperty("Camera", "FastImage", "1")
    core.setProperty("Camera", "PixelType", "16bit")
    core.setProperty("Camera", "OnCameraCCDXSize", str(size))
    core.setProperty("Camera", "OnCameraCCDYSize", str(size))
    core.setExposure(exposure_ms)
    return core


def _watch(core: Any, tap: Tap | None, seconds: float, *, pops: bool) -> dict[str, Any]:  # noqa: ANN401
    import pymmcore

    calls_us: list[float] = []
    late_ms: list[float] = []
    last = pymmcore.Metadata()
    before = _Mark(core, tap)
    deadline = before.time_s
    while deadline < before.time_s + seconds:
        deadline += OWNER_S
        time.sleep(max(0.0, deadline - time.perf_counter()))
        late_ms.append((time.perf_counter() - deadline) * 1e3)
        waiting = core.getRemainingImageCount() if pops else 1
        for _ in range(waiting):
            call = time.perf_counter()
            try:
                image = core.popNextImageMD(last) if pops else core.getLastImageMD(last)
            except IndexError:
                break  # the live view has just cleared its full buffer
            calls_us.append((time.perf_counter() - call) * 1e6)
            del image
    after = _Mark(core, tap)
    return after.since(before) | {
        "owner_calls": len(calls_us),
        "owner_call_us_p50": _percentile(calls_us, 50),
        "owner_call_us_p99": _percentile(calls_us, 99),
        "owner_late_ms_p50": _percentile(late_ms, 50),
        "owner_late_ms_p99": _percentile(late_ms, 99),
    }


class _Mark:
    """Where a run stands: time, CPU, frames exposed, the tap's counts."""

    def __init__(self, core: Any, tap: Tap | None) -> None:  # noqa: ANN401
        import pymmcore

        tags = pymmcore.Metadata()
        while not core.getRemainingImageCount():
            time.sleep(1e-4)
        core.getLastImageMD(tags)  # a live view of 10 ms has its next frame after this one
        self.frames = int(tags.GetSingleTag("ImageNumber").GetValue())
        self.counts = None if tap is None else tap.counts()
        self.time_s, self.cpu_s = time.perf_counter(), time.process_time()

    def since(self, before: _Mark) -> dict[str, Any]:
        """Return the figures between two marks."""
        seconds = self.time_s - before.time_s
        found: dict[str, Any] = {
            "seconds": round(seconds, 2),
            "camera_frames": self.frames - before.frames,
            "camera_fps": round((self.frames - before.frames) / seconds, 1),
            "cpu_percent": round(100 * (self.cpu_s - before.cpu_s) / seconds, 1),
        }
        if self.counts is not None and before.counts is not None:
            was, now = before.counts, self.counts
            found |= {
                "seen": now.seen - was.seen,
                "missed": now.lost_in_core - was.lost_in_core,
                "missed_unknown": now.loss_unknown - was.loss_unknown,
                "taken": now.sent.taken - was.sent.taken,
                "dropped": dict(now.sent.dropped),
            }
        return found


def _percentile(values: list[float], percent: int) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None


if __name__ == "__main__":
    main()
