"""The conformance kit of microscopes finds what it is there to find: one broken thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import pytest

from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Exposed, MicroscopeInfo, Position, Setting
from livedenoise.microscope.simulated import SimulatedMicroscope
from livedenoise.testing.microscope_case import MicroscopeCase
from livedenoise.testing.microscope_kit import MICROSCOPE_CHECKS

CONFIG = SimulatedCameraConfig.model_validate(
    {
        "kind": "simulated",
        "sensor": {"width_px": 32, "height_px": 24},
        "scene": {"kind": "flat", "photons_per_s": 50_000.0},
        "microscope": {"stage_speed_um_per_s": 1e6, "exposure_max_us": 200_000},
    }
)
CHECKS = {check.__name__: check for check in MICROSCOPE_CHECKS}


class Broken(SimulatedMicroscope):
    def __init__(self) -> None:
        super().__init__(CONFIG)


class OpensTwice(Broken):
    def open(self) -> MicroscopeInfo:
        self._is_open = False
        return super().open()


class OneFrameMore(Broken):
    def expose(self, exposure_us: int, n_frames: int = 1) -> Generator[Exposed]:
        return super().expose(exposure_us, n_frames + 1)


class AnotherShape(Broken):
    def open(self) -> MicroscopeInfo:
        info = super().open()
        return msgspec.structs.replace(info, shape=(12, 16), binning=2)


class BackwardTimes(Broken):
    def expose(self, exposure_us: int, n_frames: int = 1) -> Generator[Exposed]:
        for frame in super().expose(exposure_us, n_frames):
            yield msgspec.structs.replace(frame, t_host_ns=-frame.t_host_ns)


class OneBuffer(Broken):
    def expose(self, exposure_us: int, n_frames: int = 1) -> Generator[Exposed]:
        buffer = np.zeros((24, 32), np.uint16)
        for frame in super().expose(exposure_us, n_frames):
            buffer[:] = frame.pixels
            yield msgspec.structs.replace(frame, pixels=buffer)


class ListOfFrames(Broken):
    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:  # type: ignore[override]
        return iter(list(super().expose(exposure_us, min(n_frames, 10))))


class NoLimits(Broken):
    def _check_exposure(self, exposure_us: int, n_frames: int) -> None:
        del exposure_us, n_frames


class VagueLimits(Broken):
    def _check_exposure(self, exposure_us: int, n_frames: int) -> None:
        try:
            super()._check_exposure(exposure_us, n_frames)
        except CameraError as error:
            raise CameraError("too long or too short", error.hint) from error


class OpenAtFirst(Broken):
    def open(self) -> MicroscopeInfo:
        info = super().open()
        self.set_shutter(is_open=True)
        return info


class ShutterIsStuck(Broken):
    def set_shutter(self, *, is_open: bool) -> None:
        del is_open


class ForgetsTheOtherAxis(Broken):
    def move(self, position: Position) -> None:
        axes = {name: getattr(position, name) or 0.0 for name in ("x_um", "y_um", "z_um")}
        super().move(Position(**axes))


class DeafProperties(Broken):
    def set_properties(self, settings: Sequence[Setting]) -> None:
        del settings


class NamelessErrors(Broken):
    def _check_property(self, device: str, name: str) -> None:
        if (device, name) != ("Light", "Power"):
            raise CameraError("no such thing", "ask somebody")


class LeavesTheLight(Broken):
    def close(self) -> None:
        level = self._view.light.level if self._view is not None else 1.0
        super().close()
        if self._view is not None:
            self._view.light.set_level(level, 0)


class LeavesTheStage(Broken):
    def _go(self, view: object, position: Position, *, look: bool = True) -> None:
        if look:
            super()._go(view, position)  # type: ignore[arg-type]


class CannotAbort(Broken):
    def abort(self) -> None:
        return


class AbortsForEver(Broken):
    """Its error, in an exposure that nobody aborted, is what tells it."""

    is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True

    def _check_run(self, run: object) -> None:
        if self.is_aborted:
            raise CameraError(f"{run} was aborted", "do not abort")


class ClosesOnce(Broken):
    def close(self) -> None:
        if not self._is_open:
            raise AssertionError("it is closed already")
        super().close()


class ClaimsNoFocus(Broken):
    def open(self) -> MicroscopeInfo:
        return msgspec.structs.replace(super().open(), capabilities=("xy", "shutter"))


class FocusesElsewhere(Broken):
    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        return super().autofocus(device, offset_um) + 5.0


BROKEN: list[tuple[type[Broken], str]] = [
    (OneFrameMore, "check_life_cycle"),
    (OpensTwice, "check_order_is_enforced"),
    (AnotherShape, "check_frames_are_as_declared"),
    (BackwardTimes, "check_frames_are_as_declared"),
    (OneBuffer, "check_pixels_are_the_receivers"),
    (ListOfFrames, "check_closing_the_iterator_stops"),
    (NoLimits, "check_exposure_limits"),
    (VagueLimits, "check_exposure_limits"),
    (OpenAtFirst, "check_shutter"),
    (ShutterIsStuck, "check_shutter"),
    (ForgetsTheOtherAxis, "check_moves"),
    (DeafProperties, "check_properties"),
    (NamelessErrors, "check_unknown_names"),
    (LeavesTheLight, "check_restores_on_close"),
    (LeavesTheStage, "check_restores_on_close"),
    (CannotAbort, "check_abort_from_another_thread"),
    (CannotAbort, "check_abort_between_frames"),
    (AbortsForEver, "check_abort_from_another_thread"),
    (ClosesOnce, "check_close_is_idempotent"),
    (ClaimsNoFocus, "check_missing_capabilities"),
    (FocusesElsewhere, "check_autofocus"),
]


@pytest.mark.parametrize(
    ("broken", "check"), BROKEN, ids=lambda part: getattr(part, "__name__", part)
)
def test_a_broken_microscope_is_found(broken: type[Broken], check: str) -> None:
    error = CameraError if broken is AbortsForEver else AssertionError
    with pytest.raises(error):
        CHECKS[check](_case(broken))


@pytest.mark.parametrize("check", MICROSCOPE_CHECKS, ids=lambda check: check.__name__)
def test_the_same_microscope_unbroken_passes(check: Callable[[MicroscopeCase], None]) -> None:
    check(_case(Broken))


def test_the_state_of_the_hardware_is_compared() -> None:
    states: Iterator[Mapping[str, str]] = iter([{"Shutter": "0"}, {"Shutter": "1"}])
    case = MicroscopeCase(make=Broken, state=lambda: next(states))
    with pytest.raises(AssertionError, match="is left"):
        CHECKS["check_restores_on_close"](case)


def test_every_check_has_something_broken_to_find() -> None:
    # A microscope without presets has none to apply.
    assert {check for _, check in BROKEN} == set(CHECKS) - {"check_presets"}


def _case(broken: type[Broken]) -> MicroscopeCase:
    return MicroscopeCase(
        make=broken,
        setting=Setting("Light", "Power", "25"),
        moves_um={"x_um": 20.0, "y_um": -15.0, "z_um": 2.0},
    )
