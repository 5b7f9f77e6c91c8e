"""Conformance kit of ``core.camera.Camera``: every camera must pass every check.

Knows: the contract, and how to take frames as the pump does. Independent of any test runner: a
check raises AssertionError with what it found.
Must not know: any particular camera.

Example
-------
A test module of a camera::

    @pytest.mark.parametrize("check", CAMERA_CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(CameraCase(make=lambda: MyCamera(config), request=StreamRequest(exposure_us=1000)))
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
import numpy as np

from livedenoise.core.camera import Camera, CameraInfo, Captured, Prepared, StreamRequest
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import SUPPORTED_DTYPES, Frame

STOP_LIMIT_S = 2.0
_FRAMES = 5


@dataclass(frozen=True, kw_only=True)
class CameraCase:
    """A camera to check.

    Attributes
    ----------
    make : callable
        Returns a new camera, not yet open. It must deliver at least five frames, and should
        do so within a second or two.
    request : StreamRequest
        What to ask of it.
    """

    make: Callable[[], Camera]
    request: StreamRequest


@dataclass
class SlotTaker:
    """Hands out slots filled with a mark, and remembers them."""

    full_calls: int = 0
    """So many first calls find the ring full."""
    slots: list[Frame] = field(default_factory=list)
    asked: list[tuple[tuple[int, int], str, float]] = field(default_factory=list)

    def __call__(self, shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        """Return a new slot, or None while the ring is full."""
        self.asked.append((shape, dtype, timeout_s))
        if len(self.asked) <= self.full_calls:
            return None
        slot: Frame = np.full(shape, _mark(dtype), np.dtype(dtype))
        self.slots.append(slot)
        return slot


def check_life_cycle(case: CameraCase) -> None:
    """Open, prepare, start, deliver, stop, close: each works, and what it says is usable."""
    with _closing(case.make()) as camera:
        info = camera.open()
        prepared = camera.prepare(case.request)
        camera.start()
        frames = _take(camera, SlotTaker(), _FRAMES)
        camera.stop()
    _check_info(info, prepared)
    _expect(len(frames) == _FRAMES, f"delivered {len(frames)} of {_FRAMES} frames")


def check_order_is_enforced(case: CameraCase) -> None:
    """Refuse a step out of order with a CameraError and a hint, not a crash or silence."""
    with _closing(case.make()) as camera:
        _expect_camera_error(lambda: camera.prepare(case.request), "prepare before open")
        camera.open()
        _expect_camera_error(camera.start, "start before prepare")
        camera.prepare(case.request)
        _expect_camera_error(lambda: next(camera.frames(SlotTaker())), "frames before start")


def check_frames_fill_the_given_slot(case: CameraCase) -> None:
    """Each frame's pixels are in the slot last handed out, and nowhere else later."""
    taker = SlotTaker()
    with _streaming(case) as (camera, _):
        frames = camera.frames(taker)
        copies = []
        for _ in range(_FRAMES):
            captured = next(frames)
            _expect(not captured.discarded, f"frame was discarded: {captured.discarded}")
            copies.append(taker.slots[-1].copy())
    _expect(len(taker.slots) == _FRAMES, f"asked for {len(taker.slots)} slots, not {_FRAMES}")
    for number, (slot, copy) in enumerate(zip(taker.slots, copies, strict=True)):
        _expect(bool((copy != _mark(copy.dtype.str)).any()), f"slot {number} was not filled")
        _expect(np.array_equal(slot, copy), f"slot {number} was written after it was yielded")


def check_frames_are_as_prepared(case: CameraCase) -> None:
    """Shape, dtype, region, binning and exposure of the first frames are those of Prepared."""
    taker = SlotTaker()
    with _streaming(case) as (camera, prepared):
        frames = _take(camera, taker, _FRAMES)
    for captured, slot in zip(frames, taker.slots, strict=True):
        found = (captured.shape, captured.dtype, captured.exposure_us, captured.binning)
        expected = (prepared.shape, prepared.dtype, prepared.exposure_us, prepared.binning)
        _expect(found == expected, f"frame is {found}, prepared {expected}")
        region = (captured.roi_x, captured.roi_y)
        _expect(region == prepared.roi[:2], f"frame at {region}, prepared {prepared.roi[:2]}")
        _expect(slot.shape == captured.shape, f"slot {slot.shape}, frame {captured.shape}")
    for shape, dtype, timeout_s in taker.asked:
        _expect((shape, dtype) == (prepared.shape, prepared.dtype), f"asked {shape} {dtype}")
        _expect(timeout_s >= 0, f"asked for a slot with a timeout of {timeout_s} s")


def check_times_and_numbers_advance(case: CameraCase) -> None:
    """Host times are real and never go back; the camera's own numbers advance."""
    with _streaming(case) as (camera, _):
        frames = _take(camera, SlotTaker(), _FRAMES)
    times = [captured.t_host_ns for captured in frames]
    _expect(times == sorted(times) and times[0] > 0, f"t_host_ns is {times}")
    numbers = [captured.camera_seq for captured in frames]
    if set(numbers) != {-1}:
        _expect(numbers == sorted(set(numbers)) and numbers[0] >= 0, f"camera_seq is {numbers}")


def check_number_of_frames(case: CameraCase) -> None:
    """End by itself after the n frames of a request."""
    request = msgspec.structs.replace(case.request, n_frames=3)
    with _streaming(CameraCase(make=case.make, request=request)) as (camera, prepared):
        frames = list(camera.frames(SlotTaker()))
    _expect(len(frames) == 3, f"3 frames asked, {len(frames)} delivered")
    _expect(prepared.n_frames == 3, f"3 frames asked, {prepared.n_frames} prepared")


def check_stop_is_idempotent(case: CameraCase) -> None:
    """``stop`` may come at any time, twice, and ends the stream; so may ``close``."""
    camera = case.make()
    camera.stop()
    with _streaming(CameraCase(make=lambda: camera, request=case.request)):
        frames = camera.frames(SlotTaker())
        next(frames)
        camera.stop()
        camera.stop()
        began_s = time.perf_counter()
        # What was exposed before the stop may still come.
        for _ in frames:
            _expect(time.perf_counter() - began_s < STOP_LIMIT_S, "frames go on after stop")
        _expect(not list(frames), "frames went on after the end")
    camera.close()
    camera.stop()


def check_stop_from_another_thread(case: CameraCase) -> None:
    """``stop`` from another thread returns, and ends the stream, within two seconds."""
    taken_s: list[float] = []
    with _streaming(case) as (camera, _):
        frames = camera.frames(SlotTaker())
        next(frames)

        def stop() -> None:
            began_s = time.perf_counter()
            camera.stop()
            taken_s.append(time.perf_counter() - began_s)

        thread = threading.Thread(target=stop)
        began_s = time.perf_counter()
        thread.start()
        for _ in frames:
            _expect(time.perf_counter() - began_s < STOP_LIMIT_S, "frames go on after stop")
        thread.join(STOP_LIMIT_S)
        ended_s = time.perf_counter() - began_s
    _expect(bool(taken_s) and taken_s[0] < STOP_LIMIT_S, "stop did not return within 2 s")
    _expect(ended_s < STOP_LIMIT_S, f"the stream ended {ended_s:.2f} s after stop")


def check_restarts(case: CameraCase) -> None:
    """After ``stop`` it starts again; after ``close`` it opens again, and delivers."""
    with _closing(case.make()) as camera:
        for _ in range(2):
            camera.open()
            camera.prepare(case.request)
            for _ in range(2):
                camera.start()
                _expect(len(_take(camera, SlotTaker(), 2)) == 2, "no frames after a restart")
                camera.stop()
            camera.close()


def check_full_ring(case: CameraCase) -> None:
    """Without slots a lossless source waits; any other discards with its reason, and goes on."""
    taker = SlotTaker(full_calls=10_000)
    with _streaming(case) as (camera, prepared):
        if prepared.lossless:
            taker.full_calls = 3
            captured = next(camera.frames(taker))
            _expect(not captured.discarded, "a lossless source discarded a frame")
            return
        frames = camera.frames(taker)
        captured = next(frames)
        _expect(captured.discarded == "ring_full", f"discarded is {captured.discarded!r}")
        taker.full_calls = 0
        _expect(not next(frames).discarded, "the ring was free again, the frame discarded")


def check_oversize_is_passed_on(case: CameraCase) -> None:
    """Let the error of a slot that is too small reach the caller."""

    def refuse(shape: tuple[int, int], dtype: str, timeout_s: float) -> Frame | None:
        raise CameraError(f"{shape} {dtype} does not fit a slot ({timeout_s:g} s)", "hint")

    with _streaming(case) as (camera, _):
        _expect_camera_error(lambda: next(camera.frames(refuse)), "a frame beyond the slot")


CAMERA_CHECKS: tuple[Callable[[CameraCase], None], ...] = (
    check_life_cycle,
    check_order_is_enforced,
    check_frames_fill_the_given_slot,
    check_frames_are_as_prepared,
    check_times_and_numbers_advance,
    check_number_of_frames,
    check_stop_is_idempotent,
    check_stop_from_another_thread,
    check_restarts,
    check_full_ring,
    check_oversize_is_passed_on,
)
"""Every check; a camera's test module runs each of them."""


@contextmanager
def _closing(camera: Camera) -> Iterator[Camera]:
    try:
        yield camera
    finally:
        camera.stop()
        camera.close()


@contextmanager
def _streaming(case: CameraCase) -> Iterator[tuple[Camera, Prepared]]:
    with _closing(case.make()) as camera:
        camera.open()
        prepared = camera.prepare(case.request)
        camera.start()
        yield camera, prepared


def _take(camera: Camera, taker: SlotTaker, count: int) -> list[Captured]:
    frames = camera.frames(taker)
    return [next(frames) for _ in range(count)]


def _check_info(info: CameraInfo, prepared: Prepared) -> None:
    _expect(bool(info.name) and bool(info.kind), f"name {info.name!r}, kind {info.kind!r}")
    _expect(prepared.dtype in SUPPORTED_DTYPES, f"dtype {prepared.dtype}")
    _expect(min(prepared.shape) > 0, f"shape {prepared.shape}")
    fits = all(
        most >= first for most, first in zip(prepared.max_shape, prepared.shape, strict=True)
    )
    _expect(fits, f"max_shape {prepared.max_shape} is below shape {prepared.shape}")
    _expect(prepared.period_ns >= 0, f"period_ns {prepared.period_ns}")
    x, y, width, height = prepared.roi
    inside = y + height <= info.sensor[0] and x + width <= info.sensor[1]
    _expect(min(x, y) >= 0 and inside, f"region {prepared.roi}, sensor {info.sensor}")
    binned = (height // prepared.binning, width // prepared.binning)
    _expect(binned == prepared.shape, f"region {prepared.roi} gives {prepared.shape}")


def _mark(dtype: str) -> int:
    return 0x55 if np.dtype(dtype).itemsize == 1 else 0x5555


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _expect_camera_error(step: Callable[[], object], what: str) -> None:
    try:
        step()
    except CameraError as error:
        _expect(bool(error.hint), f"{what}: the error has no hint: {error}")
        return
    raise AssertionError(f"{what} was accepted")
