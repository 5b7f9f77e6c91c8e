"""A plan made concrete: every field, every shot, every limit, for one microscope.

Knows: what the run needs to know. Must not know: how a plan is written, how devices are driven.
``collect.plan`` makes a ``Program`` out of a plan file; ``collect.run`` carries it out.
"""

from __future__ import annotations

import msgspec
from pydantic import Field

from livedenoise.collect.records import Split
from livedenoise.collect.shots import Shot, Site
from livedenoise.core.config_base import Fraction, NotNegative, Positive, Strict
from livedenoise.core.microscope import Position


class Limits(Strict):
    """Table ``[checks]`` of a plan: from where on a pair is rejected.

    Each limit is held with the standard error of what was measured: a pair is rejected only when
    the value is beyond the limit by more than ``sigmas`` standard errors, so that shot noise alone
    rejects next to none. A check that an image cannot support (too few electrons) passes and says
    so.
    """

    sigmas: Positive = Field(default=5.0, description="standard errors beyond a limit")
    ratio_tolerance: Positive = Field(
        default=0.1, description="relative deviation of the intensity ratio from the dose ratio"
    )
    max_shift_px: Positive = Field(
        default=2.0, description="shift that is measured and stored; beyond it: rejected"
    )
    max_saturated_fraction: Fraction = Field(
        default=1e-4, description="pixels at the highest count (hot pixels not counted)"
    )
    max_zero_fraction: Fraction = Field(default=1e-3, description="pixels at count 0")
    max_bleaching: Fraction = Field(
        default=0.1, description="intensity lost between the low shots of a bracket"
    )
    max_focus_change: Positive = Field(
        default=0.2, description="relative change of sharpness between the shots of a pair"
    )
    max_motion: Positive = Field(
        default=0.0005,
        description="fraction of the field (in blocks of 8x8 px, at least 2) that differs between "
        "its shots by more than noise; 3 blocks side by side are too many in any field",
    )
    min_signal_e: NotNegative = Field(
        default=0.5, description="mean electrons of the high image above offset; below: dark"
    )


class LightControl(msgspec.Struct, frozen=True, kw_only=True):
    """The device property that sets the light level; ``off_value`` "" leaves it to the shutter."""

    device: str
    property: str
    off_value: str = ""
    settle_ms: float = 0.0


class DarkShots(msgspec.Struct, frozen=True, kw_only=True):
    """Dark frames at one exposure, with the shutter closed."""

    exposure_us: int
    frames: int


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that will be done, in order.

    Attributes
    ----------
    fields : tuple of tuple of Site
        The sites of each field, in the order taken. Field numbers are their places.
    sequences : dict
        Channel name ("" for none) to the shots of one site, in the order taken.
    splits : tuple of str
        Of each field.
    settle_ms : float
        Wait after a move.
    close_shutter_between : bool
        Shutter closed whenever nothing is exposed; else it is closed between fields only.
    attempts : int
        How often a field is tried at most.
    stop_after : int
        Fields that may fail in a row before the run stops with an error.
    keep_frames : bool
        Store every frame of an average too, not only their mean.
    homes_z_um : tuple of float or None
        Of each field with an autofocus and a z: the z about which its sites are planned, where it
        is focused; offsets of channels are not in it. What the autofocus finds, less this, is added
        to the ``z_um`` of that site and of those from there on, until the next autofocus. None: the
        sites have no z, or it holds as it is.
    start : Position
        Where the stage stood: relative grids and stacks lie around it. No part of ``plan_hash``;
        a resumed run makes its program with the one that was stored.
    """

    name: str
    plan_hash: str
    fields: tuple[tuple[Site, ...], ...]
    sequences: dict[str, tuple[Shot, ...]]
    splits: tuple[Split, ...]
    darks: tuple[DarkShots, ...] = ()
    light: LightControl | None = None
    settle_ms: float = 0.0
    close_shutter_between: bool = True
    attempts: int = 2
    stop_after: int = 5
    keep_frames: bool = False
    limits: Limits = Limits()
    notes: tuple[str, ...] = ()
    homes_z_um: tuple[float | None, ...] = ()
    start: Position = Position()
