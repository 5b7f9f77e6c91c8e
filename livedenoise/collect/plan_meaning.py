"""The hash of a plan's meaning: two files that lead to the same data have the same one.

Knows: what changes the data that are taken. Must not know: where the plan lies, the microscope.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256

import useq

from livedenoise.collect.plan_model import HighConfig, LowConfig, PlanConfig
from livedenoise.collect.plan_shots import find_rungs

_DIGITS = 16
_ELSEWHERE = frozenset(
    {
        "name",
        "description",
        "retry",  # how often is tried may change between a run and its resumption
        "sequence",
        "positions_file",  # its content is in the sequence
        "positions_xy_stage",
        "positions_z_stage",
        "positions_use_z",
        "high",
        "low",
        "channel",
    }
)


def plan_hash(config: PlanConfig, sequence: useq.MDASequence, channels: Iterable[str]) -> str:
    """Return the first 16 hexadecimal digits of SHA-256 over everything that changes the data.

    Comments, spelling, the order of keys and of low levels, ``name``, ``description`` and
    ``[retry]`` change nothing; nor does a ladder written as the list of its exposures.
    """
    meaning = {
        "plan": config.model_dump(mode="json", exclude=set(_ELSEWHERE)),
        "sequence": sequence.model_dump(mode="json", exclude={"metadata", "uid"}),
        "pairs": {channel: _pair(*config.of_channel(channel)) for channel in channels},
    }
    text = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:_DIGITS]


def _pair(high: HighConfig, low: LowConfig) -> list[object]:
    return [high.model_dump(mode="json"), _levels(low, high)]


def _levels(low: LowConfig, high: HighConfig) -> object:
    """Return the levels, or how they are found where the camera has a say in it."""
    if low.ladder is not None and low.ladder.to is not None:
        light = high.light if low.light is None else low.light
        return [low.ladder.model_dump(mode="json"), light]
    rungs, problems = find_rungs(low, high, 0)
    if problems:  # such a plan never becomes a program
        return low.model_dump(mode="json")
    return [[rung.exposure_us, rung.light] for rung in rungs]
