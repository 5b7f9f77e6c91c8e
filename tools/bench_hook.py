"""What `livedenoise.hook()` costs a user's own pycromanager acquisition.

    python tools/bench_hook.py --out hook.json

pycromanager's python backend runs a hardware sequence of the demo camera (FastImage, images kept in
memory): without any function, with one that only returns its image, and with the hook; in turns,
each in a process of its own. Another process takes the frames into one buffer, as the daemon's
acquire stage does. ``call_us`` is how long a call of the hook keeps pycromanager's thread;
``age_ms`` runs from that call until the frame has arrived. ``fps`` is images over the time from
``acquire`` to the end of the acquisition; ``ratio`` is it against no function, median over the
rounds of one variant over the other. ``copy_us`` is a plain copy into memory already in use.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import threading
import time
import warnings
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import busy, machine_facts, write_json

CASES = (((512, 512), 1.0, 1500), ((2048, 2048), 10.0, 100))
VARIANTS = ("bare", "passing_function", "hook", "hook_without_copy", "hook_saved", "hook_nobody")
_PACKAGES = ("pycromanager", "mmpycorex", "pymmcore", "mm-test-adapters")
_NOBODY = "tcp://127.0.0.1:9"
_TIMEOUT_S = 90


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("hook.json"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    facts = machine_facts()
    facts["versions"] |= {name: metadata.version(name) for name in _PACKAGES}
    rows = [row for case in CASES for row in _case(*case, arguments.rounds)]
    report = {"machine": facts, "rounds": arguments.rounds, "rows": rows, "busy_after": busy()}
    write_json(arguments.out, report)


def _case(shape: tuple[int, int], exposure_ms: float, frames: int, rounds: int) -> list[Any]:
    runs: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for number in range(rounds):
        # In turns, and the other way round the next time: the machine is not always as busy.
        for variant in VARIANTS[:: 1 if number % 2 == 0 else -1]:
            runs[variant].append(_one(variant, shape, exposure_ms, frames))
            print(shape, variant, runs[variant][-1], flush=True)
    bare_fps = float(np.median([run["fps"] for run in runs["bare"]]))
    common = {"exposure_ms": exposure_ms, "copy_us": _copy_us(shape)}
    return [
        {"variant": f"{shape[1]}x{shape[0]} {name}"} | common | _summary(runs[name], bare_fps)
        for name in VARIANTS
    ]


def _summary(runs: list[dict[str, Any]], bare_fps: float) -> dict[str, Any]:
    """Return medians over the rounds; numbers of images are summed."""
    found: dict[str, Any] = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        summed = name in ("images", "taken", "dropped")
        found[name] = sum(values) if summed else round(float(np.median(values)), 3)
    return found | {"ratio": round(found["fps"] / bare_fps, 3)}


def _one(variant: str, shape: tuple[int, int], exposure_ms: float, frames: int) -> dict[str, Any]:
    """Run one acquisition in a process, and the taker in another."""
    context = multiprocessing.get_context("spawn")
    orders, taker_end = multiprocessing.Pipe()
    here, there = multiprocessing.Pipe()
    taker = context.Process(target=_take, args=(taker_end, shape))
    taker.start()
    run = None
    try:
        endpoint = _received(orders, "the taker")
        task = {"endpoint": _NOBODY if variant == "hook_nobody" else endpoint}
        task |= {"variant": variant, "shape": shape, "exposure_ms": exposure_ms, "frames": frames}
        run = context.Process(target=_acquire, args=(there, task))
        run.start()
        found = dict(_received(here, variant))
        orders.send("end")
        ages_ms = np.asarray(_received(orders, "the taker"))
    finally:
        for process in filter(None, (run, taker)):
            process.join(5)
            process.kill()
            process.join()
    if ages_ms.size:
        found |= {f"age_ms_p{p}": float(np.percentile(ages_ms, p)) for p in (50, 99)}
    return found


def _received(pipe: Connection, what: str) -> Any:  # noqa: ANN401
    if not pipe.poll(_TIMEOUT_S):
        raise SystemExit(f"{what} does not end within {_TIMEOUT_S} s")
    return pipe.recv()


def _acquire(pipe: Connection, task: dict[str, Any]) -> None:
    faulthandler.dump_traceback_later(_TIMEOUT_S - 10, exit=True)
    warnings.simplefilter("ignore", DeprecationWarning)
    from pycromanager import stop_headless

    import livedenoise

    _start_camera(task["shape"])
    events = [{"axes": {"time": n}, "exposure": task["exposure_ms"]} for n in range(task["frames"])]
    variant = task["variant"]
    if not variant.startswith("hook"):
        function = _passing if variant == "passing_function" else None
        pipe.send(_run(function, events, saved=False))
    else:
        copy = variant != "hook_without_copy"
        with livedenoise.hook(task["endpoint"], events=events, copy=copy) as hook:
            pipe.send(_run(hook, events, saved=variant == "hook_saved"))
    stop_headless()
    faulthandler.cancel_dump_traceback_later()


def _start_camera(shape: tuple[int, int]) -> None:
    import mm_test_adapters
    from mmpycorex import Core
    from pycromanager import start_headless

    folder = mm_test_adapters.device_adapter_path()
    # All of a run fits into the buffer: this measures the time taken, not when it overflows.
    start_headless(folder, "MMConfig_demo.cfg", python_backend=True, buffer_size_mb=1024)
    core = Core()
    for name, value in (
        ("PixelType", "16bit"),
        ("OnCameraCCDXSize", str(shape[1])),
        ("OnCameraCCDYSize", str(shape[0])),
        ("FastImage", "1"),
    ):
        core.set_property("Camera", name, value)


def _passing(image: Any, tags: Any) -> Any:  # noqa: ANN401
    return image, tags


def _run(function: Any, events: list[dict[str, Any]], *, saved: bool) -> dict[str, Any]:  # noqa: ANN401
    from pycromanager import Acquisition

    calls_us: list[float] = []

    def timed(first: Any, second: Any) -> Any:  # noqa: ANN401
        before_ns = time.perf_counter_ns()
        result = function(first, second)
        calls_us.append((time.perf_counter_ns() - before_ns) * 1e-3)
        return result

    argument = "image_saved_fn" if saved else "image_process_fn"
    with Acquisition(**({argument: timed} if function else {})) as acquisition:
        started, cpu = time.perf_counter(), time.process_time()
        acquisition.acquire(events)
    took_s = time.perf_counter() - started
    images = len(acquisition.get_dataset().get_image_coordinates_list())
    found: dict[str, Any] = {"fps": images / took_s, "images": images}
    found["cores"] = (time.process_time() - cpu) / took_s
    for p in (50, 99) if calls_us else ():
        found[f"call_us_p{p}"] = float(np.percentile(calls_us, p))
    if hasattr(function, "counts"):
        function.flush(10.0)
        counts = function.counts()
        found |= {"taken": counts.taken, "dropped": sum(counts.dropped.values())}
    return found


def _take(pipe: Connection, shape: tuple[int, int]) -> None:
    from livedenoise.acquire.network import NetworkCamera
    from livedenoise.core.camera import StreamRequest
    from livedenoise.core.camera_config import NetworkCameraConfig

    config = NetworkCameraConfig(
        kind="network", listen="tcp://127.0.0.1:*", width_px=shape[1], height_px=shape[0]
    )
    camera = NetworkCamera(config)
    camera.open()
    camera.prepare(StreamRequest(exposure_us=0))
    camera.start()
    pipe.send(camera.endpoint)
    ages_ms: list[float] = []
    slot = np.zeros(shape, np.uint16)

    def run() -> None:
        ages_ms.extend(
            (captured.t_host_ns - captured.t_camera_ns) * 1e-6
            for captured in camera.frames(lambda *_: slot)
        )

    thread = threading.Thread(target=run)
    thread.start()
    pipe.recv()
    camera.stop()
    thread.join(10)
    camera.close()
    pipe.send(ages_ms)


def _copy_us(shape: tuple[int, int]) -> float:
    source, target = np.ones(shape, np.uint16), np.ones(shape, np.uint16)
    times_us = []
    for _ in range(50):
        before_ns = time.perf_counter_ns()
        np.copyto(target, source)
        times_us.append((time.perf_counter_ns() - before_ns) * 1e-3)
    return round(float(np.median(times_us)), 1)


if __name__ == "__main__":
    main()
