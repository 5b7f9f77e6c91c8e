"""Whether a microscope has the devices and presets that a plan names, before any light.

Knows: which of them only the open microscope can tell about. Must not know: what they are used for.
Nothing is set: a property is read, the names of presets are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from livedenoise.collect.plan import Plan
from livedenoise.collect.program import Program
from livedenoise.core.config_problems import problem_line
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.microscope import Microscope


def check_devices(scope: Microscope, program: Program, plan: Plan) -> None:
    """Refuse a plan that names what is not there.

    Parameters
    ----------
    scope : Microscope
        Open.
    program : Program
        As ``make_program`` made it of the plan.
    plan : Plan
        Its file is named.

    Raises
    ------
    ConfigError
        If there is no such light property or preset: a line for each, with its key.
    """
    lines = [*_light_lines(scope, program, plan), *_preset_lines(scope, program, plan)]
    if lines:
        raise ConfigError("\n".join(lines), "name devices and presets as Micro-Manager does")


def _light_lines(scope: Microscope, program: Program, plan: Plan) -> Iterator[str]:
    light = program.light
    if light is None:
        return
    try:
        scope.read_property(light.device, light.property)
    except CameraError as error:
        shown = f" (got {light.device!r}, property {light.property!r})"
        yield problem_line(str(plan.path), ["light", "device"], error.message, shown)


def _preset_lines(scope: Microscope, program: Program, plan: Plan) -> Iterator[str]:
    sites = (site for field in program.fields for site in field if site.channel)
    wanted = dict.fromkeys((site.channel_group, site.channel) for site in sites)
    known = {group: scope.presets(group) for group in dict.fromkeys(one for one, _ in wanted)}
    for group, channel in wanted:
        if channel not in known[group]:
            names = ", ".join(known[group]) or "no presets"
            text = f"configuration group {group} has {names}"
            yield problem_line(
                str(plan.path), ["sequence", "channels"], text, f" (got {channel!r})"
            )
