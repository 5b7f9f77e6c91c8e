"""What a calibration with a camera is asked to take.

Knows: the settings and their defaults. Must not know: cameras, the command line.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Setting

DARK_EXPOSURES_US = (10_000, 100_000, 1_000_000)
FEWER = 10
"""The longer dark exposures take so many times fewer frames: they only serve the dark current."""
LEAST_FRAMES = 8


class LightLadder(msgspec.Struct, frozen=True, kw_only=True):
    """Light levels as values of a device property, dimmest first; ``off`` "" leaves it on.

    ``linear`` says that the values are numbers in proportion to the light.
    """

    device: str
    property: str
    values: tuple[str, ...]
    off: str = ""
    linear: bool = False

    def setting(self, value: str) -> Setting:
        """Return the setting of a level."""
        return Setting(self.device, self.property, value)

    def relative(self, value: str) -> float | None:
        """Return the light level as a fraction of the highest; None where nobody said."""
        return float(value) / float(self.values[-1]) if self.linear else None


class AcquireSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many frames, at which exposures and light.

    ``levels`` counts the exposures of the ladder; a ladder of light has its own. ``exposure_us``
    goes with the latter; 0 searches it. ``discard`` frames begin every series and are dropped.
    """

    dark_frames: int = 200
    dark_exposures_us: tuple[int, ...] = DARK_EXPOSURES_US
    levels: int = 10
    frames: int = 100
    exposure_us: int = 0
    max_exposure_us: int = 500_000
    light: LightLadder | None = None
    settle_ms: float = 0.0
    discard: int = 2
    dark_by_hand: bool = False

    def frames_of_dark(self, number: int) -> int:
        """Return how many frames the dark series ``number`` has: all for the first."""
        return self.dark_frames if number == 0 else max(LEAST_FRAMES, self.dark_frames // FEWER)


def parse_light(text: str, *, off: str = "", linear: bool = False) -> LightLadder:
    """Read ``DEVICE.PROPERTY=v1,v2,...``; a property's name may hold spaces, a device's no dot.

    Raises
    ------
    ConfigError
        If it is of another form, or ``linear`` values are no numbers above 0 in rising order.
    """
    name, equals, listed = text.partition("=")
    device, dot, prop = name.strip().partition(".")
    values = tuple(value.strip() for value in listed.split(","))
    if not (equals and dot and device and prop) or not all(values) or len(values) < 3:
        raise ConfigError(
            f"--light {text!r} is not DEVICE.PROPERTY=v1,v2,v3 with three values or more",
            'for example: --light "Laser.Power=5,10,20,40,80"',
        )
    if linear:
        _require_rising(text, values)
    return LightLadder(device=device, property=prop, values=values, off=off, linear=linear)


def _require_rising(text: str, values: tuple[str, ...]) -> None:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    rising = all(a < b for a, b in pairwise(numbers))
    if not numbers or numbers[0] <= 0 or not rising:
        raise ConfigError(
            f"--light {text!r} with --light-linear: values must be numbers above 0, rising",
            "or leave --light-linear out: linearity is then not measured",
        )
