"""Faults of a simulated microscope: what goes wrong at which visit, and a record of it.

Knows: the ``[[camera.microscope.fault]]`` tables, and what each kind does to one command to
expose. Must not know: pixels, devices, clocks.

Visits. A visit is a place, counted from 0 in the order in which places are first moved to. Coming
back to a place where light was exposed is another attempt at it; passing by is none.

``docs/simulated-microscope.md`` says what each kind does. The record tells a proof what was
really injected: a fault that met no light, or no other exposure to swap with, is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

import msgspec
import numpy as np

from livedenoise.core.microscope_config import FaultKind, MicroscopeFaultConfig

_SEED_TAG = 0xFA017
_LATER_KINDS: tuple[FaultKind, ...] = ("stage_error", "moving_object")
"""What happens between two commands: the first one at a place is not touched."""


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """One fault that was injected at one attempt, and how many frames it touched."""

    visit: int
    attempt: int
    kind: FaultKind
    amount: float
    frames: int


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What goes wrong during one command to expose.

    Attributes
    ----------
    kinds : tuple of str
        Every fault at work.
    number : int
        Lit commands at this attempt before this one.
    along : tuple of float
        Direction (Y, X) of whatever moves, of length 1.
    wrong_us, wrong_frames : int
        Exposure of the first so many frames; 0 for none.
    """

    kinds: dict[FaultKind, float]
    number: int
    along: tuple[float, float]
    wrong_us: int = 0
    wrong_frames: int = 0

    def amount(self, kind: FaultKind) -> float:
        """Return the amount of a fault, 0 when it is not at work."""
        return self.kinds.get(kind, 0.0)

    @property
    def light(self) -> float:
        """Return the factor on the light."""
        if "stuck_shutter" in self.kinds:
            return 0.0
        factor = self.kinds.get("saturation", 1.0)
        return factor * (self.kinds.get("light_flicker", 1.0) if self.number % 2 else 1.0)

    @property
    def step_um(self) -> float:
        """Return how far along ``along`` the stage has moved of itself."""
        return self.amount("stage_error") * self.number

    def exposure_us(self, frame: int, commanded_us: int) -> int:
        """Return what frame number ``frame`` of the command is really exposed for."""
        return self.wrong_us if frame < self.wrong_frames else commanded_us


@dataclass(slots=True)
class _Visit:
    number: int
    attempt: int = 0
    lit_commands: int = 0


class FaultBook:
    """Decides what goes wrong with each command, and remembers it.

    Parameters
    ----------
    faults : sequence of MicroscopeFaultConfig
        What goes wrong at which visits.
    seed : int
        Draws directions.
    """

    def __init__(self, faults: Sequence[MicroscopeFaultConfig], seed: int) -> None:
        self._faults = tuple(faults)
        self._seed = seed % 2**64
        self._visits: dict[tuple[float, float], _Visit] = {}
        self._here = _Visit(number=0)
        self._active: dict[FaultKind, float] = {}
        self._along = (0.0, 1.0)
        self._exposures_us: tuple[int, int] = (0, 0)
        """The last exposure that was commanded, and the last one that was another."""
        self._frames: dict[tuple[int, int, FaultKind, float], int] = {}

    def start(self) -> None:
        """Count visits anew: what is exposed before the first move belongs to visit 0."""
        self._visits = {}
        self._begin(_Visit(number=0))

    def arrive(self, x_um: float, y_um: float) -> None:
        """Arrive at a place: a new one, or another attempt at one."""
        place = (round(x_um, 3), round(y_um, 3))
        visit = self._visits.setdefault(place, _Visit(number=len(self._visits)))
        if visit.lit_commands:
            visit.attempt += 1
            visit.lit_commands = 0
        self._begin(visit)

    @property
    def visit(self) -> tuple[int, int]:
        """Return number and attempt of the visit."""
        return self._here.number, self._here.attempt

    def _begin(self, visit: _Visit) -> None:
        self._here = visit
        self._active = {
            fault.kind: fault.amount
            for fault in self._faults
            if visit.number in fault.visits and not 0 < fault.attempts <= visit.attempt
        }
        entropy = np.random.SeedSequence([self._seed, _SEED_TAG, *self.visit])
        angle = float(np.random.default_rng(entropy).uniform(0.0, 2.0 * pi))
        self._along = (sin(angle), cos(angle))

    @property
    def bleaching_per_s(self) -> float:
        """Return the rate of bleaching at full light that comes on top at this visit."""
        return self._active.get("bleaching", 0.0)

    def between(self) -> Disturbance:
        """Return what goes wrong while nothing is commanded."""
        return Disturbance(kinds=self._active, number=0, along=self._along)

    def command(self, exposure_us: int, *, is_lit: bool) -> Disturbance:
        """Return what goes wrong with a command to expose.

        Parameters
        ----------
        exposure_us : int
            What is commanded.
        is_lit : bool
            Whether the shutter is open; in the dark nothing but exposures can go wrong.
        """
        last_us, other_us = self._exposures_us
        if exposure_us != last_us:
            self._exposures_us, other_us = (exposure_us, last_us), last_us
        wrong_us = wrong_frames = 0
        if other_us and "swapped_exposure" in self._active:
            wrong_us, wrong_frames = other_us, 1 << 62
        elif last_us and last_us != exposure_us and "stale_frames" in self._active:
            wrong_us, wrong_frames = last_us, round(self._active["stale_frames"])
        made = Disturbance(
            kinds=self._active,
            number=self._here.lit_commands,
            along=self._along,
            wrong_us=wrong_us,
            wrong_frames=wrong_frames,
        )
        self._here.lit_commands += is_lit
        return made

    def note(self, disturbance: Disturbance, frame: int, *, is_lit: bool) -> None:
        """Remember the faults that one frame of a command really met."""
        if not is_lit:
            return
        for kind, amount in disturbance.kinds.items():
            if _touches(kind, disturbance, frame):
                key = (*self.visit, kind, amount)
                self._frames[key] = self._frames.get(key, 0) + 1

    def injected(self, visit: int | None = None, attempt: int | None = None) -> list[Injection]:
        """Return what was injected: everywhere, at one visit, or at one attempt at it."""
        return [
            Injection(visit=at[0], attempt=at[1], kind=at[2], amount=at[3], frames=frames)
            for at, frames in self._frames.items()
            if visit in (None, at[0]) and attempt in (None, at[1])
        ]


def _touches(kind: FaultKind, disturbance: Disturbance, frame: int) -> bool:
    if kind in ("swapped_exposure", "stale_frames"):
        return frame < disturbance.wrong_frames
    if kind == "light_flicker":
        return disturbance.number % 2 == 1
    return kind not in _LATER_KINDS or disturbance.number > 0
