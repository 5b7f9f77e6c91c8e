"""The test bridge's acquisitions: unmodified ``pycromanager.Acquisition`` runs on it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from bridge.client import BridgeProcess
from bridge.events import runs
from pycromanager import Acquisition, multi_d_acquisition_events


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    return calm_bridge


def test_runs_of_events() -> None:
    events = [{"axes": {"time": i}, "exposure": e} for i, e in enumerate([1, 1, 5, 5])]
    assert [len(group) for group in runs(events, 0)] == [2, 2]
    assert [len(group) for group in runs(events, 10)] == [4]
    assert [len(group) for group in runs(events, 3)] == [3, 1]
    with pytest.raises(ValueError, match="laser"):
        runs([{"axes": {}, "laser": 1}], 0)


def test_acquisition_with_a_process_function_that_keeps_nothing(bridge: BridgeProcess) -> None:
    seen: list[tuple[dict[str, int], float, str]] = []

    def process(image: Any, metadata: Any) -> None:
        seen.append((metadata["Axes"], image.mean(), metadata["PixelType"]))

    events = [{"axes": {"time": i}, "exposure": (1, 20)[i % 2]} for i in range(4)]
    with Acquisition(image_process_fn=process, show_display=False, port=bridge.port) as acquisition:
        acquisition.acquire(events)
    assert [axes for axes, _, _ in seen] == [event["axes"] for event in events]
    assert seen[1][1] > 10 * seen[0][1]
    assert seen[0][1] == seen[2][1]
    assert {kind for _, _, kind in seen} == {"GRAY16"}
    assert bridge.traffic()["calls"]["addImageProcessor"] == 1


def test_hardware_sequence_with_exposures_of_its_own(bridge: BridgeProcess) -> None:
    bridge.user("setProperty", "Camera", "UseExposureSequences", "Yes")
    seen: list[Any] = []

    def process(image: Any, metadata: Any) -> None:
        seen.append((image.mean(), metadata["ImageNumber"], metadata["Exposure"]))

    events = [{"axes": {"time": i}, "exposure": (1, 20)[i % 2]} for i in range(4)]
    with Acquisition(image_process_fn=process, show_display=False, port=bridge.port) as acquisition:
        acquisition.acquire(events)
    assert [number for _, number, _ in seen] == ["0", "1", "2", "3"]
    assert seen[1][0] > 10 * seen[0][0]
    assert len({exposure for _, _, exposure in seen}) == 1  # the tag is wrong, as in Java


@pytest.mark.parametrize("on_disk", [False, True])
def test_acquisition_saves_a_list_of_images(
    acquisition_bridge: BridgeProcess, on_disk: bool, tmp_path: Any
) -> None:
    saved: dict[tuple[int, int], Any] = {}

    def process(image: Any, metadata: Any) -> list[Any]:
        clean = {**metadata, "Axes": {**metadata["Axes"], "clean": 1}}
        metadata["Axes"]["clean"] = 0
        return [(image, metadata), (image // 2, clean)]

    def keep(axes: dict[str, int], dataset: Any) -> None:
        saved[axes["time"], axes["clean"]] = dataset.read_image(**axes)

    where = {"directory": str(tmp_path), "name": "run"} if on_disk else {}
    with Acquisition(
        image_process_fn=process, image_saved_fn=keep, port=acquisition_bridge.port, **where
    ) as acquisition:
        acquisition.acquire(multi_d_acquisition_events(num_time_points=3))
    acquisition.get_dataset().close()
    assert sorted(saved) == [(t, c) for t in range(3) for c in range(2)]
    assert all(np.array_equal(saved[t, 0] // 2, saved[t, 1]) for t in range(3))
    assert saved[0, 0].mean() > 100


def test_hooks_see_and_cancel_events(bridge: BridgeProcess) -> None:
    seen, notified = [], threading.Event()

    def cancel_odd(event: Any) -> Any:
        return event if event["axes"]["time"] % 2 == 0 else None

    def process(image: Any, metadata: Any) -> None:
        seen.append(metadata["Axes"]["time"])

    def notify(notification: Any) -> None:
        notified.set()

    with Acquisition(
        image_process_fn=process,
        pre_hardware_hook_fn=cancel_odd,
        notification_callback_fn=notify,
        show_display=False,
        port=bridge.port,
    ) as acquisition:
        for time in range(4):
            acquisition.acquire({"axes": {"time": time}})
    assert seen == [0, 2]
    assert notified.is_set()


def test_error_in_the_process_function_ends_the_acquisition(bridge: BridgeProcess) -> None:
    def process(image: Any, metadata: Any) -> None:
        raise ValueError("planted")

    def run() -> None:
        with Acquisition(image_process_fn=process, show_display=False, port=bridge.port) as acq:
            acq.acquire([{"axes": {"time": i}, "exposure": 50 + i} for i in range(1000)])

    with pytest.raises(Exception, match="exception in image processor: planted"):
        run()


def test_error_of_the_camera_reaches_the_client(bridge: BridgeProcess) -> None:
    bridge.user("startContinuousSequenceAcquisition", 0)

    def run() -> None:
        with Acquisition(show_display=False, port=bridge.port) as acquisition:
            acquisition.acquire({"axes": {"time": 0}})

    with pytest.raises(Exception, match=r"java\.lang\.RuntimeException: .*sequence"):
        run()


def test_abort_ends_an_acquisition_early(bridge: BridgeProcess) -> None:
    seen: list[int] = []
    acquisition: Any = None

    def process(image: Any, metadata: Any) -> None:
        seen.append(metadata["Axes"]["time"])
        if len(seen) == 3:
            acquisition.abort()

    events = [{"axes": {"time": i}, "exposure": 20} for i in range(1000)]
    acquisition = Acquisition(image_process_fn=process, show_display=False, port=bridge.port)
    with acquisition:
        acquisition.acquire(events)
    assert 3 <= len(seen) < 100
    assert not bridge.user("isSequenceRunning")
