"""What is commanded and what came back: the values that plan, run, checks and data set share.

Knows: roles, levels, exposures, light. Must not know: devices, files, why a pair is rejected.

Words
-----
A *field* is one place of the specimen. A *site* is one field, channel and z. At a site a
*sequence* of shots is taken; a *pair* is one low shot and the high shot it belongs to. A *ladder*
is several low levels. With order ``bracket`` every low shot is taken once more after the high one
(``part = "after"``): that shows bleaching, and it is a second, independent noisy copy.

Dose is exposure x light x frames, in microseconds at full light; per-frame dose is exposure x
light, and intensities scale with it.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame

Role = Literal["low", "high", "dark"]
Part = Literal["", "after"]
Image = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32]


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """One commanded exposure, or ``frames`` of them in a row that are averaged.

    Attributes
    ----------
    role : str
        ``low``, ``high`` or ``dark``.
    level : int
        Which rung of the ladder, 0 for the brightest; 0 for high.
    repeat : int
        Which repeat of the sequence at this site.
    part : str
        ``after`` for the low shots of a bracket that follow the high one.
    exposure_us : int
        Of each frame.
    light : float
        Light level relative to full, in (0, 1] (0 for dark); 1 where light is not commanded.
    light_value : str
        The text the light property is set to; "" where light is not commanded.
    frames : int
        Frames averaged.
    discard : int
        Frames exposed first and thrown away (they count as dose).
    """

    role: Role
    level: int = 0
    repeat: int = 0
    part: Part = ""
    exposure_us: int
    light: float = 1.0
    light_value: str = ""
    frames: int = 1
    discard: int = 0

    @property
    def frame_dose_us(self) -> float:
        """Return exposure x light of one frame: what intensity is proportional to."""
        return self.exposure_us * self.light

    @property
    def dose_us(self) -> float:
        """Return exposure x light over all frames, the discarded ones too."""
        return self.frame_dose_us * (self.frames + self.discard)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What a shot brought.

    Attributes
    ----------
    shot : Shot
        What was commanded.
    image : ndarray
        (Y, X): the counts of one frame, or their mean in float32 over ``shot.frames`` frames.
    first, last : ndarray or None
        First and last single frame of an average, for motion and bleaching within it.
    frame_means_adu : tuple of float
        Mean counts of each frame, in the order taken.
    saturated_fraction : float
        Pixels at the highest count in any frame.
    zero_fraction : float
        Pixels at count 0 in any frame.
    exposure_us : int
        What the camera said it exposed for.
    started_ns, ended_ns : int
        Host clock before the first (discarded ones too) and after the last frame.
    z_um : float or None
        Where the focus drive stood.
    frames : tuple of ndarray
        Every frame of an average, where the plan keeps them (``keep_frames``); else empty.
    """

    shot: Shot
    image: Image
    first: Frame | None = None
    last: Frame | None = None
    frame_means_adu: tuple[float, ...] = ()
    saturated_fraction: float = 0.0
    zero_fraction: float = 0.0
    exposure_us: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    z_um: float | None = None
    frames: tuple[Frame, ...] = ()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One low shot, the high shot it belongs to, and what a bracket adds."""

    low: Taken
    high: Taken
    after: Taken | None = None

    @property
    def name(self) -> str:
        """Return level and repeat, unique at a site: ``level0-repeat0``."""
        return f"level{self.low.shot.level}-repeat{self.low.shot.repeat}"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One field, channel and z of a plan.

    ``x_um``, ``y_um``, ``z_um`` are absolute stage coordinates, None where the plan leaves the
    axis alone. ``index`` counts channel and z within the field. ``channel`` is the preset's name,
    "" for none.
    """

    field: int
    index: int = 0
    name: str = ""
    x_um: float | None = None
    y_um: float | None = None
    z_um: float | None = None
    channel: str = ""
    channel_group: str = ""
    autofocus: bool = False
    autofocus_device: str = ""
    autofocus_offset_um: float | None = None


def make_pairs(taken: list[Taken]) -> list[Pair]:
    """Return the pairs of one site: every low shot with the high shot of its repeat.

    Raises
    ------
    ValueError
        If a low shot has no high shot, or there are two high shots in a repeat.
    """
    high: dict[int, Taken] = {}
    after: dict[tuple[int, int], Taken] = {}
    for one in taken:
        if one.shot.role == "high":
            if one.shot.repeat in high:
                raise ValueError(f"two high shots in repeat {one.shot.repeat}")
            high[one.shot.repeat] = one
        elif one.shot.role == "low" and one.shot.part == "after":
            after[one.shot.level, one.shot.repeat] = one
    first = [one for one in taken if one.shot.role == "low" and not one.shot.part]
    missing = sorted({one.shot.repeat for one in first} - set(high))
    if missing:
        raise ValueError(f"no high shot in repeat {missing[0]}")
    return [
        Pair(
            low=one,
            high=high[one.shot.repeat],
            after=after.get((one.shot.level, one.shot.repeat)),
        )
        for one in first
    ]
