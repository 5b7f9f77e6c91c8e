"""Conformance checks of what stands around a microscope's camera: stage, shutter, properties.

Knows: the contract ``core.microscope``. Part of ``testing.microscope_kit``, which has every check.
Must not know: any particular microscope.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from livedenoise.core.microscope import Capability, Microscope, MicroscopeInfo, Position, Setting
from livedenoise.testing.microscope_case import (
    NO_DEVICE,
    MicroscopeCase,
    closing,
    expect,
    expect_camera_error,
    opened,
)

_AXES = {"xy": ("x_um", "y_um"), "z": ("z_um",)}


def check_shutter(case: MicroscopeCase) -> None:
    """Dark after ``open``; bright behind an open shutter, in every exposure; dark again."""
    with opened(case) as (scope, info):
        if "shutter" not in info.capabilities or not case.sees_light:
            return
        dark = [_mean(scope, case)]
        scope.set_shutter(is_open=True)
        bright = [_mean(scope, case), _mean(scope, case)]
        scope.set_shutter(is_open=False)
        dark.append(_mean(scope, case))
    margin = min(bright) - max(dark)
    expect(margin > case.light_margin_adu, f"open {bright}, closed {dark} counts")


def check_moves(case: MicroscopeCase) -> None:
    """End a move where it was sent; leave an axis that is not named; absent axes are None."""
    with opened(case) as (scope, info):
        start = scope.position()
        for capability, axes in _AXES.items():
            for axis in axes:
                there = getattr(start, axis) is not None
                expect(there == (capability in info.capabilities), f"{axis} of {start}")
        for axis in _axes_of(info):
            before = scope.position()
            target = getattr(before, axis) + case.moves_um[axis]
            scope.move(Position(**{axis: target}))
            _expect_near(scope.position(), _with_axis(before, axis, target), case)
        scope.move(Position())
        scope.move(start)
        _expect_near(scope.position(), start, case)


def check_properties(case: MicroscopeCase) -> None:
    """Read a property back as it was set."""
    if case.setting is None:
        return
    with opened(case) as (scope, _):
        scope.set_properties([case.setting])
        found = scope.read_property(case.setting.device, case.setting.property)
    expect(_same_value(found, case.setting.value), f"{case.setting} reads back {found!r}")


def check_unknown_names(case: MicroscopeCase) -> None:
    """Name an unknown device, property, group or preset in a CameraError."""
    with opened(case) as (scope, _):
        steps: list[tuple[str, Callable[[], object]]] = [
            (NO_DEVICE, lambda: scope.read_property(NO_DEVICE, "Power")),
            (NO_DEVICE, lambda: scope.set_properties([Setting(NO_DEVICE, "Power", "1")])),
            ("NoSuchGroup", lambda: scope.set_preset("NoSuchGroup", "Preset")),
        ]
        known = case.setting
        if known is not None:
            wrong = Setting(known.device, "NoSuchProperty", "1")
            steps.append(("NoSuchProperty", lambda: scope.set_properties([wrong])))
            steps.append(
                ("NoSuchProperty", lambda: scope.read_property(known.device, wrong.property))
            )
        if case.preset is not None:
            group = case.preset[0]
            steps.append(("NoSuchPreset", lambda: scope.set_preset(group, "NoSuchPreset")))
        for name, step in steps:
            error = expect_camera_error(step, f"{name}")
            expect(name in error.message, f"{name} is not in: {error.message}")


def check_presets(case: MicroscopeCase) -> None:
    """Apply a preset that exists, and expose after it."""
    if case.preset is None:
        return
    with opened(case) as (scope, _):
        scope.set_preset(*case.preset)
        expect(len(list(scope.expose(case.exposure_us))) == 1, "no frame after a preset")


def check_restores_on_close(case: MicroscopeCase) -> None:
    """``close`` puts properties, stage and exposure back; the shutter is closed."""
    outside = dict(case.state()) if case.state is not None else {}
    with closing(case.make()) as scope:
        info = scope.open()
        before = (scope.position(), _value(scope, case))
        _change_everything(scope, info, case)
        scope.close()
        left = dict(case.state()) if case.state is not None else {}
        expect(left == outside, f"the hardware was {outside}, is left {left}")
        scope.open()
        after = (scope.position(), _value(scope, case))
    _expect_near(after[0], before[0], case)
    expect(after[1] == before[1], f"{case.setting} was {before[1]!r}, is left {after[1]!r}")


def check_missing_capabilities(case: MicroscopeCase) -> None:
    """Refuse a command for what it has not got: a CameraError with a hint."""
    with opened(case) as (scope, info):
        steps: dict[Capability, Callable[[], object]] = {
            "xy": lambda: scope.move(Position(x_um=0.0, y_um=0.0)),
            "z": lambda: scope.move(Position(z_um=0.0)),
            "shutter": lambda: scope.set_shutter(is_open=True),
            "autofocus": scope.autofocus,
        }
        for capability, step in steps.items():
            if capability not in info.capabilities:
                expect_camera_error(step, f"a command for {capability}, which is missing")


def check_autofocus(case: MicroscopeCase) -> None:
    """Autofocus returns where the focus drive then stands."""
    with opened(case) as (scope, info):
        if "autofocus" not in info.capabilities:
            return
        if "shutter" in info.capabilities:
            scope.set_shutter(is_open=True)
        z_um = scope.autofocus()
        stands = scope.position().z_um
        expect(stands is not None, "autofocus without a z position")
        expect(abs(z_um - (stands or 0.0)) <= case.position_tolerance_um, f"{z_um}, {stands}")
        expect_camera_error(lambda: scope.autofocus(NO_DEVICE), "an unknown autofocus device")


DEVICE_CHECKS: tuple[Callable[[MicroscopeCase], None], ...] = (
    check_shutter,
    check_moves,
    check_properties,
    check_unknown_names,
    check_presets,
    check_restores_on_close,
    check_missing_capabilities,
    check_autofocus,
)
"""Every check of this module."""


def _change_everything(scope: Microscope, info: MicroscopeInfo, case: MicroscopeCase) -> None:
    start = scope.position()
    for axis in _axes_of(info):
        scope.move(Position(**{axis: getattr(start, axis) + case.moves_um[axis]}))
    if case.setting is not None:
        scope.set_properties([case.setting])
        expect(_value(scope, case) != "", "the property reads back nothing")
    if case.preset is not None:
        scope.set_preset(*case.preset)
    if "shutter" in info.capabilities:
        scope.set_shutter(is_open=True)
    list(scope.expose(case.exposure_us * 2))


def _axes_of(info: MicroscopeInfo) -> list[str]:
    return [axis for name, axes in _AXES.items() if name in info.capabilities for axis in axes]


def _with_axis(position: Position, axis: str, value: float) -> Position:
    axes = ("x_um", "y_um", "z_um")
    return Position(**{name: getattr(position, name) for name in axes} | {axis: value})


def _expect_near(found: Position, wanted: Position, case: MicroscopeCase) -> None:
    for axis in ("x_um", "y_um", "z_um"):
        there, target = getattr(found, axis), getattr(wanted, axis)
        near = there is target or abs(there - target) <= case.position_tolerance_um
        expect(near, f"{axis} is {there}, should be {target}")


def _value(scope: Microscope, case: MicroscopeCase) -> str:
    if case.setting is None:
        return ""
    return scope.read_property(case.setting.device, case.setting.property)


def _same_value(found: str, wanted: str) -> bool:
    try:
        return abs(float(found) - float(wanted)) <= 1e-6 * max(1.0, abs(float(wanted)))
    except ValueError:
        return found == wanted


def _mean(scope: Microscope, case: MicroscopeCase) -> float:
    frames = list(scope.expose(case.exposure_us, 2))
    return float(np.mean([frame.pixels.mean(dtype=np.float64) for frame in frames]))
