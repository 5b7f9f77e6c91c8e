"""Conformance kit of ``core.microscope.Microscope``: every microscope must pass every check.

Knows: the contract, and how collection and calibration command. Independent of any test runner: a
check raises AssertionError with what it found. The checks of stage, shutter and properties are in
``testing.microscope_device_kit``.
Must not know: any particular microscope.

A refused exposure names both values in microseconds, as plain whole numbers. ``abort`` with
nothing in progress does not touch the next exposure.

Example
-------
A test module of a microscope::

    @pytest.mark.parametrize("check", MICROSCOPE_CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(MicroscopeCase(make=lambda: MyMicroscope(config), exposure_us=2000))
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import get_args

import numpy as np

from livedenoise.core.errors import CameraError
from livedenoise.core.frame import max_count
from livedenoise.core.microscope import (
    Capability,
    Exposed,
    Microscope,
    MicroscopeInfo,
    Position,
    Setting,
)
from livedenoise.testing.microscope_case import (
    NO_DEVICE,
    MicroscopeCase,
    closing,
    expect,
    expect_camera_error,
    opened,
)
from livedenoise.testing.microscope_device_kit import DEVICE_CHECKS

__all__ = ["MICROSCOPE_CHECKS", "MicroscopeCase"]

ABORT_LIMIT_S = 2.0


def check_life_cycle(case: MicroscopeCase) -> None:
    """Open, expose, close; open again, expose, close: what it says of itself is usable."""
    with closing(case.make()) as scope:
        for _ in range(2):
            info = scope.open()
            _check_info(info)
            expect(len(list(scope.expose(case.exposure_us, 2))) == 2, "did not expose 2 frames")
            scope.close()


def check_order_is_enforced(case: MicroscopeCase) -> None:
    """Every command before ``open`` and after ``close`` is a CameraError with a hint."""
    with closing(case.make()) as scope:
        _expect_all_refused(scope, case, "before open")
        scope.open()
        expect_camera_error(scope.open, "open while it is open")
        scope.close()
        _expect_all_refused(scope, case, "after close")


def check_frames_are_as_declared(case: MicroscopeCase) -> None:
    """As many frames as asked for, of the declared shape and dtype, with times that go on."""
    began_ns = time.perf_counter_ns()
    with opened(case) as (scope, info):
        frames = list(scope.expose(case.exposure_us, 4))
    expect(len(frames) == 4, f"4 frames asked, {len(frames)} came")
    times = [frame.t_host_ns for frame in frames]
    expect(times == sorted(times) and times[0] > 0, f"t_host_ns is {times}")
    expect(times[0] >= began_ns, f"t_host_ns {times[0]} is before the exposure, {began_ns}")
    for frame in frames:
        found = (frame.pixels.shape, frame.pixels.dtype.str)
        expect(found == (info.shape, info.camera.dtype), f"frame is {found}, declared {info}")
        highest = int(frame.pixels.max())
        expect(highest <= max_count(info.camera.bit_depth), f"count {highest} beyond bit depth")
        wrong = abs(frame.exposure_us / case.exposure_us - 1.0)
        expect(
            wrong <= case.exposure_tolerance,
            f"exposure {case.exposure_us} us, read back {frame.exposure_us} us",
        )


def check_pixels_are_the_receivers(case: MicroscopeCase) -> None:
    """Give every frame memory of its own: later frames do not change it, nor it them."""
    with opened(case) as (scope, _):
        kept: list[Exposed] = []
        copies = []
        for frame in scope.expose(case.exposure_us, 3):
            kept.append(frame)
            copies.append(frame.pixels.copy())
        kept += scope.expose(case.exposure_us, 1)
    for number, (frame, copy) in enumerate(zip(kept, copies, strict=False)):
        expect(np.array_equal(frame.pixels, copy), f"frame {number} was written later")
        for other in kept[number + 1 :]:
            expect(not np.shares_memory(frame.pixels, other.pixels), "frames share memory")


def check_closing_the_iterator_stops(case: MicroscopeCase) -> None:
    """Stop the camera when an iterator is closed early; expose again at once."""
    with opened(case) as (scope, _):
        frames = scope.expose(case.exposure_us, 100_000)
        next(frames)
        began_s = time.perf_counter()
        _close_iterator(frames)
        again = list(scope.expose(case.exposure_us, 1))
        took_s = time.perf_counter() - began_s
    expect(len(again) == 1, "no frame after an iterator was closed early")
    expect(took_s < ABORT_LIMIT_S, f"the next exposure took {took_s:.2f} s")


def check_exposure_limits(case: MicroscopeCase) -> None:
    """Refuse an exposure beyond the limits with both values; refuse none at all, and no frames."""
    with opened(case) as (scope, info):
        limits = []
        if info.exposure_max_us:
            limits.append((info.exposure_max_us + 1, info.exposure_max_us))
        if info.exposure_min_us > 1:
            limits.append((info.exposure_min_us - 1, info.exposure_min_us))
        for asked_us, limit_us in limits:
            ask = partial(_expose_all, scope, asked_us)
            error = expect_camera_error(ask, f"{asked_us} us")
            for value in (asked_us, limit_us):
                expect(str(value) in error.message, f"{value} is not in: {error.message}")
        expect_camera_error(lambda: list(scope.expose(0)), "an exposure of 0 us")
        expect_camera_error(lambda: list(scope.expose(case.exposure_us, 0)), "0 frames")
        expect(len(list(scope.expose(case.exposure_us))) == 1, "no frame after a refusal")


def check_abort_from_another_thread(case: MicroscopeCase) -> None:
    """``abort`` ends a long exposure within two seconds, with an error; the next one works."""
    ended = threading.Event()
    with opened(case) as (scope, info):
        scope.abort()
        expect(len(list(scope.expose(case.exposure_us))) == 1, "an idle abort broke an exposure")

        def keep_aborting() -> None:
            # Again and again: one that comes before the exposure does nothing.
            while not ended.wait(0.05):
                scope.abort()

        thread = threading.Thread(target=keep_aborting, name="abort")
        long_us = min(case.long_exposure_us, info.exposure_max_us or case.long_exposure_us)
        began_s = time.perf_counter()
        thread.start()
        try:
            frames = scope.expose(long_us, 1000)
            expect_camera_error(partial(_drain, frames, began_s), "an aborted exposure")
            took_s = time.perf_counter() - began_s
        finally:
            ended.set()
            thread.join()
        expect(took_s < ABORT_LIMIT_S, f"the exposure ended {took_s:.2f} s after it began")
        expect(len(list(scope.expose(case.exposure_us))) == 1, "no frame after an abort")


def check_abort_between_frames(case: MicroscopeCase) -> None:
    """``abort`` while the receiver is busy with a frame ends the run when it asks for the next."""
    with opened(case) as (scope, _):
        frames = scope.expose(case.exposure_us, 100_000)
        next(frames)
        scope.abort()
        scope.abort()
        began_s = time.perf_counter()
        expect_camera_error(partial(_drain, frames, began_s), "a run aborted between frames")
        took_s = time.perf_counter() - began_s
    expect(took_s < ABORT_LIMIT_S, f"the run ended {took_s:.2f} s after abort")


def check_close_is_idempotent(case: MicroscopeCase) -> None:
    """``close`` may come before ``open``, twice, and in the middle of a run."""
    scope = case.make()
    scope.close()
    scope.open()
    frames = scope.expose(case.exposure_us, 100_000)
    next(frames)
    scope.close()
    scope.close()
    scope.abort()
    with suppress(CameraError):
        # What was exposed before may still come; it must end soon.
        left = sum(1 for _ in zip(frames, range(1000), strict=False))
        expect(left < 1000, "frames go on after close")


MICROSCOPE_CHECKS: tuple[Callable[[MicroscopeCase], None], ...] = (
    check_life_cycle,
    check_order_is_enforced,
    check_frames_are_as_declared,
    check_pixels_are_the_receivers,
    check_closing_the_iterator_stops,
    check_exposure_limits,
    check_abort_from_another_thread,
    check_abort_between_frames,
    check_close_is_idempotent,
    *DEVICE_CHECKS,
)
"""Every check; a microscope's test module runs each of them."""


def _check_info(info: MicroscopeInfo) -> None:
    camera = info.camera
    expect(bool(camera.name) and bool(camera.kind), f"name {camera.name!r}, {camera.kind!r}")
    expect(camera.dtype in ("|u1", "<u2"), f"dtype {camera.dtype}")
    expect(min(info.shape) > 0, f"shape {info.shape}")
    x, y, width, height = info.roi
    inside = y + height <= camera.sensor[0] and x + width <= camera.sensor[1]
    expect(min(x, y) >= 0 and inside, f"region {info.roi}, sensor {camera.sensor}")
    binned = (height // info.binning, width // info.binning)
    expect(binned == info.shape, f"region {info.roi} by {info.binning} gives {info.shape}")
    expect(set(info.capabilities) <= set(get_args(Capability)), f"{info.capabilities}")
    expect(info.pixel_size_um >= 0, f"pixel_size_um {info.pixel_size_um}")
    limits = (info.exposure_min_us, info.exposure_max_us)
    expect(min(limits) >= 0 and (not limits[1] or limits[0] <= limits[1]), f"limits {limits}")


def _expect_all_refused(scope: Microscope, case: MicroscopeCase, when: str) -> None:
    steps: dict[str, Callable[[], object]] = {
        "expose": lambda: list(scope.expose(case.exposure_us)),
        "set_shutter": lambda: scope.set_shutter(is_open=True),
        "set_properties": lambda: scope.set_properties([Setting(NO_DEVICE, "a", "b")]),
        "read_property": lambda: scope.read_property(NO_DEVICE, "a"),
        "presets": lambda: scope.presets("group"),
        "set_preset": lambda: scope.set_preset("group", "preset"),
        "move": lambda: scope.move(Position(x_um=0.0, y_um=0.0)),
        "position": scope.position,
        "autofocus": scope.autofocus,
    }
    for name, step in steps.items():
        expect_camera_error(step, f"{name} {when}")


def _close_iterator(frames: Iterator[Exposed]) -> None:
    close = getattr(frames, "close", None)
    expect(close is not None, "expose returns no generator: it cannot be closed early")
    if close is not None:
        close()


def _expose_all(scope: Microscope, exposure_us: int) -> list[Exposed]:
    return list(scope.expose(exposure_us))


def _drain(frames: Iterator[Exposed], began_s: float) -> None:
    for _ in frames:
        expect(time.perf_counter() - began_s < ABORT_LIMIT_S, "frames go on after abort")
