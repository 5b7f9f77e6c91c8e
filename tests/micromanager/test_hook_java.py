"""``livedenoise.hook()`` in pycromanager's own Java acquisition, through the test bridge."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acquisition_kit import SHAPE, free_ports, hook_run_config, time_events
from bridge.client import BridgeProcess
from network_kit import Taking, taking
from waiting import wait_until

import livedenoise
from livedenoise.client.hook import Hook
from livedenoise.client.hooking.datasets import read
from livedenoise.testing.live import LiveRun

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*NDTiffStack:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def camera(bridge: BridgeProcess) -> BridgeProcess:
    """Return a bridge whose demo camera makes small 16-bit images."""
    from mmpycorex import Core

    core = Core(port=bridge.port)
    for name, value in (
        ("OnCameraCCDXSize", str(SHAPE[1])),
        ("OnCameraCCDYSize", str(SHAPE[0])),
        ("PixelType", "16bit"),
    ):
        core.set_property("Camera", name, value)
    core.set_exposure(2.0)
    return bridge


@pytest.fixture
def daemon(leak_guard: None) -> Iterator[Taking]:
    """Return a network camera that takes frames, as the daemon's acquire stage does."""
    del leak_guard
    with taking() as running:
        yield running


Acquire = Callable[..., Any]


@pytest.fixture
def acquire(bridge: BridgeProcess, tmp_path: Path) -> Iterator[Acquire]:
    """Run pycromanager's own acquisitions and return their data sets.

    On disk: images in Micro-Manager's memory are read by the default port only, which other tests
    may be using.
    """
    from pycromanager import JavaBackendAcquisition

    datasets: list[Any] = []

    def run(events: list[dict[str, Any]], **options: Any) -> Any:
        options |= {"directory": str(tmp_path / "images"), "name": "hook"}
        with JavaBackendAcquisition(port=bridge.port, show_display=False, **options) as running:
            running.acquire(events)
        datasets.append(running.get_dataset())
        return datasets[-1]

    yield run
    for dataset in datasets:
        dataset.close()


def stored(dataset: Any, **axes: Any) -> tuple[np.ndarray, dict[str, Any]]:
    image, tags = read(dataset, axes, ())
    return image, tags


def settle(hook: Hook, running: Taking, count: int) -> None:
    assert hook.flush(5)
    wait_until(lambda: len(running.frames) >= count)


@pytest.mark.parametrize("argument", ["image_process_fn", "image_saved_fn"])
def test_every_image_arrives_and_the_data_set_is_as_it_was(
    camera: BridgeProcess, acquire: Acquire, daemon: Taking, argument: str
) -> None:
    events = time_events(20, exposure=3.0)
    with livedenoise.hook(daemon.endpoint, events=events) as hook:
        dataset = acquire(events, **{argument: hook})
        settle(hook, daemon, 20)
        counts = hook.counts()
        assert (counts.images, counts.taken, counts.dropped, hook.said) == (20, 20, {}, [])
    assert [(one.event, one.exposure_us) for one in daemon.frames] == [
        (number, 3000) for number in range(20)
    ]
    for number, sent in enumerate(daemon.pixels):
        assert sent.any()
        np.testing.assert_array_equal(stored(dataset, time=number)[0], sent)


def test_denoised_images_come_back_in_the_list(
    camera: BridgeProcess, acquire: Acquire, start: Callable[..., LiveRun]
) -> None:
    listen, metrics, frames = free_ports(3)
    share = {"enabled": True, "port": metrics, "max_hz": 1000.0}
    run = start(hook_run_config(f"tcp://127.0.0.1:{listen}", share=share))
    with livedenoise.hook(
        f"tcp://127.0.0.1:{listen}",
        denoised="beside",
        clean_endpoint=f"tcp://127.0.0.1:{frames}",
        exposure_ms=15.0,
        wait_s=20,
    ) as hook:
        # The first ones pass before the daemon's view runs and has the subscription.
        wait_until(
            lambda: (
                acquire(time_events(5), image_process_fn=hook)
                and hook.counts().denoised["delivered"]
            ),
            timeout_s=30,
        )
        delivered = hook.counts().denoised["delivered"]
        dataset = acquire(
            [{"axes": {"time": n, "channel": "DAPI"}, "exposure": 15.0} for n in range(60)],
            image_process_fn=hook,
        )
        assert hook.flush(5)
        saved = dataset.get_image_coordinates_list()
        counts = hook.counts()
    run.daemon.request_stop()
    assert run.result().exit_code == 0
    raw = [axes for axes in saved if axes == {"time": axes["time"], "channel": "DAPI"}]
    beside = [axes for axes in saved if axes.get("channel") == "DAPI denoised"]
    assert len(raw) == 60
    assert len(beside) >= 3
    # Those of the acquisition before were still under way.
    assert 0 <= counts.denoised["delivered"] - delivered - len(beside) <= 5
    for axes in beside[:5]:
        clean, tags = stored(dataset, **axes)
        np.testing.assert_array_equal(clean, stored(dataset, **axes | {"channel": "DAPI"})[0])
        made_by = tags["livedenoise"]
        assert (made_by["denoised"], made_by["exposure_us"]) == (True, 15_000)


def test_the_thread_that_tells_the_backends_apart_has_its_name(
    camera: BridgeProcess, acquire: Acquire
) -> None:
    names: list[str] = []

    def look(image: Any, tags: Any) -> Any:
        names.append(threading.current_thread().name)
        return image, tags

    acquire(time_events(2), image_process_fn=look)
    assert names == ["ImageProcessor"] * 2
