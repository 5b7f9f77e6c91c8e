"""Judging the machine: clock, processors, power scheme. Pure: numbers in, findings out."""

from __future__ import annotations

from collections.abc import Sequence

from livedenoise.core.check_facts import Finding, Level

MAX_CLOCK_STEP_NS = 10_000
"""A coarser clock would show in the latencies, whose last digit is 0.01 ms."""

MAX_LOAD = 0.5
"""Share of the processors that others may keep busy before figures measured now mean little."""


def judge_clock(step_ns: float, *, monotonic: bool) -> Finding:
    """Judge the clock that stamps frames by the smallest step it was seen to make."""
    text = f"steps of {step_ns:.0f} ns"
    if not monotonic:
        text = f"{text}, but the system says it may go back"
        return _machine("clock", "problem", text, "do not run this in a virtual machine like that")
    if step_ns > MAX_CLOCK_STEP_NS:
        text = f"{text}: latencies are no finer than that"
        mend = "Linux: set clocksource to tsc; in a virtual machine see its time settings"
        return _machine("clock", "warning", text, mend)
    return _machine("clock", "ok", text)


def judge_processors(processors: int, processes: int) -> Finding:
    """Judge the logical processors this program may use against the processes of a run."""
    text = f"{processors} processors for {processes} processes"
    if processors < 2:
        mend = "use a computer with at least two processors, or record only (denoise.enabled)"
        return _machine("processors", "warning", f"{text}: the stages take turns", mend)
    if processes > processors:
        # Ordinary: most stages wait most of the time. The ceilings say whether it suffices.
        text = f"{text}: stages share them (see the row 'all together')"
    return _machine("processors", "ok", text)


def judge_load(load: float | None, processors: int) -> Finding | None:
    """Judge the work that waits for processors besides this check; None where it is not told.

    ``load`` is the mean number of running or waiting programs over the last minute.
    """
    if load is None:
        return None
    text = f"{load:.1f} programs at work in the last minute, {processors} processors"
    if load > MAX_LOAD * processors:
        text += ": what is measured now is a busy machine"
        return _machine("load", "warning", text, "end other programs, then check again")
    return _machine("load", "ok", text)


def judge_governors(governors: Sequence[str]) -> Finding | None:
    """Judge the processors' frequency governors (Linux); None where none can be read."""
    if not governors:
        return None
    found = ", ".join(sorted(set(governors)))
    if "powersave" in governors:
        text = f"governor {found}: the processor may be slow to speed up"
        mend = "cpupower frequency-set -g performance, or the performance power profile"
        return _machine("power", "warning", text, mend)
    return _machine("power", "ok", f"governor {found}")


def _machine(name: str, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="machine", name=name, ok=ok, text=text, mend=mend)
