"""``livedenoise.hook()`` and a real daemon: all is recorded; denoised images beside raw ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from acquisition_kit import free_ports, hook_run_config, python_backend, time_events
from waiting import wait_until

import livedenoise
from livedenoise.client.hook import Hook
from livedenoise.daemon.summary import Summary
from livedenoise.testing.live import LiveRun

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "hook_acquisition.py"
Start = Callable[..., LiveRun]


@pytest.fixture(scope="module", autouse=True)
def core() -> Iterator[Any]:
    with python_backend() as core:
        yield core


def recorded(summary: Summary) -> np.ndarray:
    parts = sorted((Path(summary.run_dir) / "raw" / "net").glob("part-*.tif"))
    return np.concatenate([tifffile.imread(part) for part in parts])


def law(denoised: dict[str, int]) -> None:
    others = {name: n for name, n in denoised.items() if name != "expected"}
    assert denoised["expected"] == sum(others.values()), denoised


def test_every_image_of_an_acquisition_is_recorded_by_the_daemon(start: Start) -> None:
    from pycromanager import Acquisition

    (port,) = free_ports(1)
    endpoint = f"tcp://127.0.0.1:{port}"
    run = start(hook_run_config(endpoint), frames=120)
    events = time_events(120, exposure=2.0)
    with livedenoise.hook(endpoint, events=events, wait_s=20) as hook:
        with Acquisition(image_process_fn=hook) as acquisition:
            acquisition.acquire(events)
        dataset = acquisition.get_dataset()
        assert hook.flush(5)
        counts = hook.counts()
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    assert counts.images == counts.taken == summary.captured == summary.recorded == 120
    assert (counts.dropped, summary.lost_at_camera, hook.said) == ({}, 0, [])
    raw = np.stack([dataset.read_image(time=number) for number in range(120)])
    np.testing.assert_array_equal(recorded(summary), raw)


def acquire_beside(hook: Hook, events: list[dict[str, Any]]) -> Any:
    from pycromanager import Acquisition

    with Acquisition(image_saved_fn=hook) as acquisition:
        acquisition.acquire(events)
    return acquisition.get_dataset()


def test_denoised_images_lie_beside_the_raw_ones_in_memory(start: Start) -> None:
    listen, metrics, frames = free_ports(3)
    share = {"enabled": True, "port": metrics, "max_hz": 1000.0}
    run = start(hook_run_config(f"tcp://127.0.0.1:{listen}", share=share))
    for channel in ("", "DAPI"):
        check_images_beside(listen, frames, channel)
    run.daemon.request_stop()
    assert run.result().exit_code == 0


def check_images_beside(listen: int, frames: int, channel: str) -> None:
    """Acquire with a hook of the daemon at these ports; look at the data set."""
    events = time_events(80, exposure=10.0)
    for event in events:
        event["axes"] |= {"channel": channel} if channel else {}
    with livedenoise.hook(
        f"tcp://127.0.0.1:{listen}",
        events=events,
        denoised="beside",
        clean_endpoint=f"tcp://127.0.0.1:{frames}",
        wait_s=20,
    ) as hook:
        # The daemon shares nothing before its view runs and the subscription has arrived there.
        wait_until(
            lambda: acquire_beside(hook, time_events(5)) and hook.counts().denoised["delivered"],
            timeout_s=20,
        )
        before = hook.counts()
        dataset = acquire_beside(hook, events)
        assert hook.flush(5)
    counts = hook.counts()
    assert counts.taken - before.taken >= 80
    assert counts.denoised["delivered"] >= 5
    law(counts.denoised)
    wanted = f"{channel} denoised" if channel else None
    beside = [
        axes
        for axes in dataset.get_image_coordinates_list()
        if axes.get("channel") == wanted and (channel or axes.get("denoised") == 1)
    ]
    # Those of the short acquisitions before, still under way then, went to data sets of theirs.
    others = counts.denoised["delivered"] - len(beside)
    assert before.denoised["delivered"] <= others <= before.denoised["expected"]
    assert len(beside) >= 5
    assert len(dataset.get_image_coordinates_list()) == 80 + len(beside)
    for axes in beside:
        raw = {"time": axes["time"]} | ({"channel": channel} if channel else {})
        # The identity engine: the image beside is the image itself, and no other one.
        np.testing.assert_array_equal(dataset.read_image(**axes), dataset.read_image(**raw))
        made_by = dataset.read_metadata(**axes)["livedenoise"]
        assert (made_by["denoised"], made_by["camera"]) == (True, "net")
        assert made_by["exposure_us"] == 10_000
        assert "livedenoise" not in dataset.read_metadata(**raw)
    assert "put_image" not in vars(dataset)


def test_the_example_runs_without_a_microscope_and_without_a_daemon(start: Start) -> None:
    (port,) = free_ports(1)
    endpoint = f"tcp://127.0.0.1:{port}"
    alone = example(endpoint, "--frames", "5")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.startswith("5 images in the data set, 0 reached the daemon")
    assert alone.stderr.count("no daemon takes images") == 1
    # Stopped by us: a run that ends by itself may leave before its last answer.
    run = start(hook_run_config(endpoint, shape=(512, 512)))
    both = example(endpoint, "--frames", "20", "--wait", "20")
    run.daemon.request_stop()
    summary = run.result()
    assert both.returncode == 0, both.stderr
    assert both.stdout.startswith("20 images in the data set, 20 reached the daemon")
    assert summary.recorded == 20
    assert recorded(summary).shape == (20, 512, 512)


def example(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
