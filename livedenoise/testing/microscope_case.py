"""What the conformance kit of a microscope checks, and how its checks speak.

Knows: the contract ``core.microscope``, and what a case must say about its microscope.
Must not know: any particular microscope, any test runner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from livedenoise.core.errors import CameraError
from livedenoise.core.microscope import Microscope, MicroscopeInfo, Setting

NO_DEVICE = "NoSuchDevice"


@dataclass(frozen=True, kw_only=True)
class MicroscopeCase:
    """A microscope to check. What ``MicroscopeInfo.capabilities`` leaves out must be refused.

    Attributes
    ----------
    make : callable
        Returns a new microscope, not yet open.
    exposure_us : int
        A short exposure it accepts.
    long_exposure_us : int
        Exposure that ``abort`` ends; cut to the longest one it accepts.
    exposure_tolerance : float
        Relative deviation of the exposure read back from the one commanded.
    setting : Setting, optional
        A property that may be changed, and a value it does not have at first.
    preset : tuple of str, optional
        A configuration group and a preset of it.
    sees_light : bool
        Whether frames are brighter behind an open shutter.
    light_margin_adu : float
        By how much, at least.
    moves_um : dict
        How far each axis may be moved from where it is at first.
    position_tolerance_um : float
        How near a move must end, and a position be restored.
    state : callable, optional
        Reads the hardware itself (not through the microscope) as texts; it must be the same
        before ``open`` and after ``close``.
    """

    make: Callable[[], Microscope]
    exposure_us: int = 2000
    long_exposure_us: int = 10_000_000
    exposure_tolerance: float = 0.01
    setting: Setting | None = None
    preset: tuple[str, str] | None = None
    sees_light: bool = True
    light_margin_adu: float = 1.0
    moves_um: Mapping[str, float] = field(
        default_factory=lambda: {"x_um": 20.0, "y_um": -15.0, "z_um": 2.0}
    )
    position_tolerance_um: float = 0.1
    state: Callable[[], Mapping[str, str]] | None = None


@contextmanager
def closing(scope: Microscope) -> Iterator[Microscope]:
    """Close a microscope at the end, whatever happened."""
    try:
        yield scope
    finally:
        scope.close()


@contextmanager
def opened(case: MicroscopeCase) -> Iterator[tuple[Microscope, MicroscopeInfo]]:
    """Make and open a microscope, and close it at the end."""
    with closing(case.make()) as scope:
        yield scope, scope.open()


def expect(condition: bool, message: str) -> None:
    """Raise AssertionError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise AssertionError(message)


def expect_camera_error(step: Callable[[], object], what: str) -> CameraError:
    """Return the CameraError, with a hint, that ``step`` must raise."""
    try:
        step()
    except CameraError as error:
        expect(bool(error.hint), f"{what}: the error has no hint: {error}")
        return error
    raise AssertionError(f"{what} was accepted")
