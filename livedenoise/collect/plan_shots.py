"""What is taken at a site: levels of a ladder, their order, light as text. Pure.

Knows: how ``[high]``, ``[low]``, ``[light]``, ``order`` and ``discard`` become shots, and which of
them a camera refuses. Must not know: where, or how a device is driven.

Level 0 is the brightest rung of the ladder. Before the high shot the ladder is climbed from the
dimmest, after it descended: light that bleaches comes as late as the order allows, and the two low
shots of a bracket lie evenly about the high one.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from livedenoise.collect.plan_model import (
    HighConfig,
    LadderConfig,
    LightConfig,
    LowConfig,
    PlanConfig,
)
from livedenoise.collect.program import LightControl
from livedenoise.collect.shots import Part, Role, Shot
from livedenoise.core.microscope import MicroscopeInfo

_MAX_RUNGS = 64
Problem = tuple[tuple[object, ...], str]


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One level: exposure of a frame and the fraction of full light asked for."""

    exposure_us: int
    light: float

    @property
    def dose_us(self) -> float:
        """Return exposure x light."""
        return self.exposure_us * self.light


def make_shots(
    plan: PlanConfig, channel: str, info: MicroscopeInfo
) -> tuple[tuple[Shot, ...], list[Problem]]:
    """Return the shots of one site in a channel, in the order taken, and what is wrong with them.

    Problems come with their dotted key. Shots are empty where the levels cannot be told.
    """
    high, low = plan.of_channel(channel)
    rungs, problems = find_rungs(low, high, info.exposure_min_us)
    if problems:
        return (), _named(plan, channel, problems)
    levels = [_shot(plan.light, "low", rung, level=n) for n, rung in enumerate(rungs)]
    whole = Rung(exposure_us=high.exposure_us, light=high.light)
    bright = _shot(plan.light, "high", whole, frames=high.frames)
    problems = [*_refused(bright, levels, info), *_not_dimmer(bright, levels)]
    problems += _not_lit(plan, bright, levels)
    return _in_order(plan, bright, levels), _named(plan, channel, problems)


def find_rungs(
    low: LowConfig, high: HighConfig, exposure_min_us: int
) -> tuple[list[Rung], list[Problem]]:
    """Return the rungs, the brightest first; ``exposure_min_us`` 0 when the camera does not tell.

    Each exposure of a ladder is the one before divided by ``factor``, rounded to a microsecond;
    ``to = "min"`` ends with the shortest exposure of the camera itself.
    """
    light = high.light if low.light is None else low.light
    lights = light if isinstance(light, list) else [light]
    if low.ladder is not None:
        exposures, problems = _climb(low.ladder, exposure_min_us)
    else:
        given = high.exposure_us if low.exposure_us is None else low.exposure_us
        exposures, problems = given if isinstance(given, list) else [given], []
    rungs = [Rung(exposure_us=one, light=level) for one in exposures for level in lights]
    return sorted(rungs, key=lambda rung: -rung.dose_us), problems


def _climb(ladder: LadderConfig, exposure_min_us: int) -> tuple[list[int], list[Problem]]:
    keys = ("low", "ladder")
    if ladder.to == "min" and not exposure_min_us:
        text = "the camera does not tell its shortest exposure: give steps = n"
        return [], [((*keys, "to"), text)]
    if ladder.to == "min" and ladder.from_us < exposure_min_us:
        text = f"below the shortest exposure of the camera, {exposure_min_us} us"
        return [], [((*keys, "from_us"), f"{text} (got {ladder.from_us})")]
    exposures = [ladder.from_us]
    end = ladder.steps or _MAX_RUNGS
    while len(exposures) < end and exposures[-1] > (exposure_min_us if ladder.to else 0):
        exposures.append(round(ladder.from_us / ladder.factor ** len(exposures)))
        if ladder.to:
            exposures[-1] = max(exposures[-1], exposure_min_us)
    if len(set(exposures)) < len(exposures) or exposures[-1] < 1:
        text = "two rungs are the same microsecond, or 0: take fewer steps or a larger factor"
        return [], [(keys, f"{text} (got {', '.join(map(str, exposures))} us)")]
    if ladder.to == "min" and exposures[-1] > exposure_min_us:
        text = f"more than {_MAX_RUNGS} rungs down to {exposure_min_us} us: take a larger factor"
        return [], [((*keys, "factor"), f"{text} (got {ladder.factor:g})")]
    return exposures, []


def light_value(light: LightConfig, level: float) -> str:
    """Return the text a light property is set to for a fraction of full light."""
    value = light.full_value * level
    return f"{value:.6g}" if light.decimals is None else f"{value:.{light.decimals}f}"


def light_control(light: LightConfig | None) -> LightControl | None:
    """Return how the light is set, None where it is not."""
    if light is None:
        return None
    off = light.off_value
    return LightControl(
        device=light.device,
        property=light.property,
        off_value=off if isinstance(off, str) else f"{off:.6g}",
        settle_ms=light.settle_ms,
    )


def _shot(
    light: LightConfig | None, role: Role, rung: Rung, *, level: int = 0, frames: int = 1
) -> Shot:
    text = "" if light is None else light_value(light, rung.light)
    # What the device is set to counts, rounded as it is, not what was asked for.
    real = rung.light if light is None else float(text) / light.full_value
    return Shot(
        role=role,
        level=level,
        exposure_us=rung.exposure_us,
        light=real,
        light_value=text,
        frames=frames,
    )


def _in_order(plan: PlanConfig, high: Shot, levels: list[Shot]) -> tuple[Shot, ...]:
    """Return the shots of all repeats; frames are discarded wherever exposure or light change.

    The first shot of a site counts as a change: what the camera exposed before is not known here.
    """
    shots: list[Shot] = []
    for repeat in range(plan.repeats):
        for shot, part in _of_repeat(plan.order, repeat, high, levels):
            last = shots[-1] if shots else None
            same = last is not None and _setting(last) == _setting(shot)
            discard = 0 if same else plan.discard
            shots.append(msgspec.structs.replace(shot, repeat=repeat, part=part, discard=discard))
    return tuple(shots)


def _of_repeat(
    order: str, repeat: int, high: Shot, levels: list[Shot]
) -> Iterator[tuple[Shot, Part]]:
    """Yield the shots of one repeat with their part."""
    low_first = order != "alternating" or repeat % 2 == 0
    if low_first:
        yield from ((shot, "") for shot in reversed(levels))
    yield high, ""
    if order == "bracket":
        yield from ((shot, "after") for shot in levels)
    elif not low_first:
        yield from ((shot, "") for shot in levels)


def _setting(shot: Shot) -> tuple[int, str]:
    return shot.exposure_us, shot.light_value


def _refused(high: Shot, levels: list[Shot], info: MicroscopeInfo) -> Iterator[Problem]:
    """Yield the exposures that are beyond the limits of the camera."""
    for keys, shots in ((("high", "exposure_us"), [high]), (("low",), levels)):
        for exposure_us in dict.fromkeys(shot.exposure_us for shot in shots):
            if 0 < exposure_us < info.exposure_min_us:
                limit = f"below the shortest exposure of the camera, {info.exposure_min_us} us"
                yield keys, f"{limit} (got {exposure_us})"
            elif 0 < info.exposure_max_us < exposure_us:
                limit = f"above the longest exposure of the camera, {info.exposure_max_us} us"
                yield keys, f"{limit} (got {exposure_us})"


def _not_dimmer(high: Shot, levels: list[Shot]) -> Iterator[Problem]:
    """Yield the low levels that are no dimmer than the high image as a whole."""
    whole = high.frame_dose_us * high.frames
    for shot in levels:
        if shot.frame_dose_us >= whole:
            text = f"not dimmer than high: {shot.frame_dose_us:g} us at full light against"
            yield ("low",), f"{text} {whole:g} us in {high.frames} frames"
    doses = [shot.frame_dose_us for shot in levels]
    if len(set(doses)) < len(doses):
        yield ("low",), "two levels are the same once light.decimals has rounded them"


def _not_lit(plan: PlanConfig, high: Shot, levels: list[Shot]) -> Iterator[Problem]:
    """Yield levels of light that nothing sets, or that are rounded to none."""
    for key, shots in (("high", [high]), ("low", levels)):
        for level in dict.fromkeys(shot.light for shot in shots):
            if plan.light is None and level != 1:
                text = f"a level of {level:g} needs [light]: device, property and full_value"
                yield (key, "light"), text
            elif level <= 0:
                yield (key, "light"), "a level is rounded to no light at all: see light.decimals"


def _named(plan: PlanConfig, channel: str, problems: list[Problem]) -> list[Problem]:
    """Return the problems under ``[[channel]]`` where the channel has the table of its own."""
    number = next((n for n, one in enumerate(plan.channel) if one.name == channel), None)
    if number is None:
        return problems
    own = plan.channel[number]
    tables = {"high": own.high, "low": own.low}
    return [
        (("channel", number, *keys) if tables.get(str(keys[0])) is not None else keys, text)
        for keys, text in problems
    ]
