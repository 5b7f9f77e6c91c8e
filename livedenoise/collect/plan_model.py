"""The plan of a collection as strict models of its TOML file.

Knows: every key, its unit and its default. Must not know: the microscope, how ``[sequence]`` is
resolved (``collect.plan_sequence``), in which order shots are taken (``collect.plan_shots``).
"""

from __future__ import annotations

from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from livedenoise.collect.program import Limits
from livedenoise.core.config_base import Fraction, NotNegative, Positive, Strict

Order = Literal["low-first", "alternating", "bracket"]
ExposureUs = Annotated[int, Field(ge=1)]
Level = Annotated[float, Field(gt=0, le=1)]
_SUM_TOLERANCE = 1e-6
_WHOLE_US = "a whole number of microseconds, at least 1"


def _one_exposure(value: object) -> object:
    if not _is_exposure(value):
        raise ValueError(f"{_WHOLE_US} (5 ms are 5_000)")
    return value


def _is_exposure(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _some_exposures(value: object) -> object:
    """Check here what pydantic would name once for each kind of value that is allowed."""
    for one in value if isinstance(value, list) else [value]:
        if value is not None and not _is_exposure(one):
            raise ValueError(f"{_WHOLE_US}, or a list of them (5 ms are 5_000)")
    return value


def _some_levels(value: object) -> object:
    for one in value if isinstance(value, list) else [value]:
        if value is not None and not _is_level(one):
            raise ValueError("a fraction of light.full_value, above 0 and up to 1, or a list")
    return value


def _is_level(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


class HighConfig(Strict):
    """The high image of a pair: one long exposure, or the mean of several."""

    exposure_us: ExposureUs = Field(description="exposure of each frame")
    frames: int = Field(default=1, ge=1, le=4096, description="frames that are averaged")
    light: Level = Field(default=1.0, description="fraction of light.full_value")

    _whole_us = field_validator("exposure_us", mode="before")(_one_exposure)


class LadderConfig(Strict):
    """Low exposures that go down by a factor: ``steps`` of them, or down to the camera's limit."""

    from_us: ExposureUs = Field(description="longest of them")
    factor: float = Field(default=2.0, gt=1, le=1000, description="each is shorter by this")
    steps: int | None = Field(default=None, ge=1, le=64, description="how many exposures")
    to: Literal["min"] | None = Field(
        default=None, description='"min": down to the shortest exposure of the camera'
    )

    _whole_us = field_validator("from_us", mode="before")(_one_exposure)

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.steps is None) == (self.to is None):
            raise ValueError('give steps = n or to = "min", one of them')
        return self


class LowConfig(Strict):
    """The low images: one exposure, a list, or a ladder; or the same by light at one exposure."""

    exposure_us: ExposureUs | list[ExposureUs] | None = Field(
        default=None, description="one or several; default with light: that of high"
    )
    ladder: LadderConfig | None = Field(default=None, description="instead of exposure_us")
    light: Level | list[Level] | None = Field(
        default=None, description="one or several fractions of light.full_value; default: of high"
    )

    _whole_us = field_validator("exposure_us", mode="before")(_some_exposures)
    _fractions = field_validator("light", mode="before")(_some_levels)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.exposure_us is not None and self.ladder is not None:
            raise ValueError("give exposure_us or ladder, one of them")
        if self.exposure_us is None and self.ladder is None and self.light is None:
            raise ValueError("give exposure_us, ladder or light")
        for key, values in (("exposure_us", self.exposure_us), ("light", self.light)):
            _check_list(key, values)
        many = isinstance(self.exposure_us, list) or self.ladder is not None
        if many and isinstance(self.light, list):
            raise ValueError("several exposures and several levels of light: give one of them")
        return self


def _check_list(key: str, values: object) -> None:
    if not isinstance(values, list):
        return
    if not values:
        raise ValueError(f"{key} is an empty list")
    if len(set(values)) < len(values):
        raise ValueError(f"{key} has a value twice")


class ChannelConfig(Strict):
    """What is different in one channel: a whole ``high`` or ``low`` table in place of the other."""

    name: str = Field(min_length=1, description="of a channel of [sequence]")
    high: HighConfig | None = Field(default=None, description="in place of [high]")
    low: LowConfig | None = Field(default=None, description="in place of [low]")


class LightConfig(Strict):
    """A device property that sets the light, for example the power of a laser."""

    device: str = Field(min_length=1, description="as Micro-Manager names it")
    property: str = Field(min_length=1, description="its property")
    full_value: Positive = Field(description="number it has at full light; levels are fractions")
    off_value: str | float = Field(
        default="", description='without light; "" leaves the dark to the shutter'
    )
    decimals: int | None = Field(
        default=None, ge=0, le=9, description="of the number that is set; default: as needed"
    )
    settle_ms: NotNegative = Field(default=0.0, description="wait after a change of the light")


class DarkConfig(Strict):
    """Dark frames that are taken first, with the shutter closed, at each exposure of the plan."""

    frames: int = Field(default=32, ge=0, le=65536, description="at each exposure; 0 for none")


class RetryConfig(Strict):
    """What is done about a field without a good pair. No part of the plan's hash."""

    attempts: int = Field(
        default=2, ge=1, le=100, description="how often a field is tried until a pair is good"
    )
    stop_after: int = Field(
        default=5, ge=1, description="fields failed in a row that stop the run with an error"
    )


class SplitConfig(Strict):
    """Which part of the data set a field belongs to; every pair of a field goes to the same."""

    train: Fraction = Field(default=0.8, description="fraction of the fields")
    val: Fraction = Field(default=0.1, description="fraction of the fields")
    test: Fraction = Field(default=0.1, description="fraction of the fields")
    seed: int = Field(default=0, description="which fields; the same seed gives the same")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.val + self.test
        if not isclose(total, 1.0, abs_tol=_SUM_TOLERANCE):
            raise ValueError(f"train + val + test must be 1, got {total:g}")
        return self


class PlanConfig(Strict):
    """What is taken, where, in which order, and from where on a pair is rejected."""

    name: str = Field(
        default="", pattern=r"^[A-Za-z0-9._-]*$", description="default: the name of the file"
    )
    description: str = Field(default="", description="one line for people")
    positions_file: Path | None = Field(
        default=None, description="Micro-Manager position list, in place of stage_positions"
    )
    positions_xy_stage: str = Field(
        default="", description="its XY device; default: the one the list names"
    )
    positions_z_stage: str = Field(
        default="", description="its z device; default: the one the list names"
    )
    positions_use_z: bool = Field(default=True, description="no: leave the focus where it is")
    repeats: int = Field(default=1, ge=1, le=1000, description="of the sequence at every site")
    order: Order = Field(default="low-first", description="of low and high images, see above")
    settle_ms: NotNegative = Field(default=0.0, description="wait after a move")
    discard: int = Field(
        default=0, ge=0, le=100, description="frames thrown away after a change; they count as dose"
    )
    close_shutter_between: bool = Field(
        default=True, description="no: the shutter is closed between fields only"
    )
    keep_frames: bool = Field(default=False, description="store every frame of an average too")
    sequence: dict[str, Any] = Field(default={}, description="useq-schema: where")
    high: HighConfig
    low: LowConfig
    channel: list[ChannelConfig] = Field(default=[], description="what a channel has of its own")
    light: LightConfig | None = Field(default=None, description="light as a device property")
    dark: DarkConfig = DarkConfig()
    retry: RetryConfig = RetryConfig()
    split: SplitConfig = SplitConfig()
    checks: Limits = Limits()

    @model_validator(mode="after")
    def _channel_names_differ(self) -> Self:
        names = [channel.name for channel in self.channel]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"channel names must differ, used twice: {', '.join(twice)}")
        return self

    def of_channel(self, name: str) -> tuple[HighConfig, LowConfig]:
        """Return what is taken in a channel ("" where there is none)."""
        own = next((one for one in self.channel if one.name == name), None)
        high = own.high if own is not None else None
        low = own.low if own is not None else None
        return high or self.high, low or self.low
