"""A hook called by hand: what passes, what is counted, what is refused, how long a call takes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from network_kit import SHAPE, Taking, taking
from waiting import wait_until

import livedenoise
from livedenoise.client.hook import Hook
from livedenoise.core.errors import BusError

NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture
def daemon(leak_guard: None) -> Iterator[Taking]:
    """Return a network camera that takes frames, as the daemon's acquire stage does."""
    del leak_guard
    with taking() as running:
        yield running


@pytest.fixture
def hooked(leak_guard: None) -> Iterator[Callable[..., Hook]]:
    """Make hooks that are closed at the end."""
    del leak_guard
    made: list[Hook] = []

    def make(*arguments: Any, **options: Any) -> Hook:
        made.append(livedenoise.hook(*arguments, **options))
        return made[-1]

    yield make
    for hook in made:
        hook.close()


def settle(hook: Hook, running: Taking) -> None:
    """Wait until all is there: a frame is answered just before the camera has it in its list."""
    assert hook.flush(5)
    wait_until(lambda: len(running.frames) >= hook.counts().lines[running.endpoint].sender.taken)


def test_loss_at_the_hook_is_seen_by_the_daemon(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    hook = hooked(daemon.endpoint)
    line = hook._lines[""]
    line._buffer_bytes = 0  # two images may wait
    image = np.zeros(SHAPE, np.uint16)
    hook(image, {"Axes": {"time": 0}})
    settle(hook, daemon)
    daemon.full = True
    for number in range(1, 60):
        hook(image, {"Axes": {"time": number}})
    wait_until(lambda: hook.counts().dropped.get("overtaken", 0) > 0)
    daemon.full = False
    settle(hook, daemon)
    hook(image, {"Axes": {"time": 60}})
    settle(hook, daemon)
    counts = hook.counts()
    lost = sum(counts.dropped.values())
    assert counts.taken + lost == 61
    assert daemon.frames[-1].camera_seq == 60
    assert len(daemon.frames) == 61 - lost


def test_what_is_no_frame_passes_and_is_counted(
    hooked: Callable[..., Hook], daemon: Taking
) -> None:
    hook = hooked(daemon.endpoint)
    tags = {"Axes": {"time": 0}}
    for image in (
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint32),
        np.zeros((4, 4), np.float32),
        np.zeros(16, np.uint16),
    ):
        result = hook(image, tags)
        assert result[0] is image
        assert result[1] is tags
    assert hook.counts().passed_by == {"colour": 2, "dtype": 2, "shape": 1}
    assert len(hook.said) == 3


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"denoised": "instead"}, "denoised"),
        ({"buffer_mb": 0}, "buffer_mb"),
        ({"binning": 0}, "binning"),
        ({"roi": (0, 0, 64, 64)}, "roi"),
        ({"roi": (-1, 0)}, "roi"),
        ({"events": (event for event in ())}, "events"),
        ({"events": [{"exposure": 3}]}, "axes"),
        ({"exposure_ms": "long"}, "exposure_ms"),
        ({"endpoint": {}}, "endpoint"),
        ({"endpoint": {0: NOBODY}, "denoised": "beside"}, "denoised"),
        ({"endpoint": "nonsense"}, "nonsense"),
    ],
)
def test_options_that_cannot_be_are_refused_before_the_acquisition(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(BusError, match=named):
        livedenoise.hook(**{"endpoint": NOBODY, "wait_s": 0.0, **options})


def test_exposures_and_channels_by_axes(daemon: Taking, hooked: Callable[..., Hook]) -> None:
    hook = hooked(daemon.endpoint, exposure_ms={"DAPI": 5, "FITC": 7.5})
    for name in ("FITC", "DAPI", "FITC", "Cy5"):
        hook(np.zeros(SHAPE, np.uint16), {"Axes": {"channel": name}})
    settle(hook, daemon)
    assert [(one.exposure_us, one.channel) for one in daemon.frames] == [
        (7500, 0),
        (5000, 1),
        (7500, 0),
        (0, 2),
    ]


def test_events_expected_meanwhile_are_not_those_of_an_image_that_waits(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    hook = hooked(daemon.endpoint, events=[{"axes": {"time": 0}, "exposure": 5}])
    daemon.full = True
    image = np.zeros(SHAPE, np.uint16)
    for _ in range(20):
        hook(image, {"Axes": {"time": 0}})
    hook.expect([{"axes": {"time": 0}, "exposure": 50}])
    daemon.full = False
    assert hook.flush(5)
    wait_until(lambda: daemon.frames)
    assert {(frame.event, frame.exposure_us) for frame in daemon.frames} == {(0, 5000)}


@pytest.mark.parametrize(
    ("options", "place", "said"),
    [
        ({}, (0, 0, 1), ["do not tell their region and binning"]),
        ({"binning": 2, "roi": (6, 8)}, (6, 8, 2), []),
    ],
)
def test_where_images_lie_that_do_not_tell_it(
    daemon: Taking,
    hooked: Callable[..., Hook],
    options: dict[str, Any],
    place: tuple[int, int, int],
    said: list[str],
) -> None:
    hook = hooked(daemon.endpoint, **options)
    for number in range(3):
        # As SequenceTester's frames are; DemoCamera's say more.
        hook(np.zeros(SHAPE, np.uint16), {"Camera": "Cam", "Axes": {"time": number}})
    settle(hook, daemon)
    assert {(one.roi_x, one.roi_y, one.binning) for one in daemon.frames} == {place}
    assert len(hook.said) == len(said)
    assert all(text in hook.said[0] for text in said)
    told = {"Binning": "2x2", "ROI-X-start": "4", "ROI-Y-start": "6"}
    hook(np.zeros(SHAPE, np.uint16), told | {"Axes": {"time": 3}})
    settle(hook, daemon)
    last = daemon.frames[-1]
    assert (last.roi_x, last.roi_y, last.binning) == (8, 12, 2)


def test_the_call_does_not_wait_while_the_other_end_does(
    daemon: Taking, hooked: Callable[..., Hook]
) -> None:
    hook = hooked(daemon.endpoint)
    daemon.full = True
    image = np.zeros(SHAPE, np.uint16)
    took_s = []
    for _ in range(600):
        before = time.perf_counter()
        hook(image, {"Axes": {}})
        took_s.append(time.perf_counter() - before)
    # One wait for room would be 0.2 s. A busy machine may hold up a few calls, not most of them.
    assert sorted(took_s)[540] < 0.02
    assert hook.counts().dropped.get("overtaken", 0) > 0
    daemon.full = False


FORGETFUL = """
import sys
import numpy as np
import livedenoise

hook = livedenoise.hook(sys.argv[1], wait_s=20, binning=1)
for number in range(30):
    hook(np.full((48, 64), number, np.uint16), {"Axes": {"time": number}})
"""


def test_a_script_that_forgets_to_close_its_hook_ends_and_loses_nothing(daemon: Taking) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, daemon.endpoint],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: len(daemon.frames) == 30)
    assert [int(pixels[0, 0]) for pixels in daemon.pixels] == list(range(30))


def test_a_hook_imports_nothing_heavy_and_nothing_of_micro_manager() -> None:
    code = (
        "import livedenoise; livedenoise.hook; import sys;"
        "heavy = ('pycromanager', 'mmpycorex', 'pymmcore', 'pyjavaz', 'ndstorage', 'torch',"
        " 'scipy', 'openvino', 'pydantic');"
        "print(sorted(name for name in heavy if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
