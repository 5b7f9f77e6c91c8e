"""Which stage hangs, from when it was last heard of and last moved. Pure.

Two kinds of silence: a process that sends no heartbeat at all is frozen (its control thread too);
one that sends them while its loop does not move is stuck in its work. What that means depends on
the work: a camera without light is silent for good reasons, a disk may take long, an engine may
announce a long call.
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Hang(Enum):
    """What is wrong with a stage."""

    NO = "no"
    FROZEN = "frozen"
    """No heartbeat: replace the process."""
    STUCK = "stuck"
    """A denoiser or view whose loop does not move, a recorder whose loop has not for very long."""
    NO_FRAMES = "no frames"
    """A camera that delivers nothing."""
    SLOW = "slow"
    """A recorder that has not moved for a while: a slow disk, worth a note."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in ns. ``no_frames_ns`` is per camera; None means it may wait for ever.

    Silence is judged by ``silence_ns`` at work, ``opening_ns`` before, and ``first_word_ns`` while
    the interpreter and its imports are still on their way.
    """

    silence_ns: int
    opening_ns: int
    first_word_ns: int
    slow_ns: int
    stuck_recorder_ns: int
    no_frames_ns: int | None


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """When a stage was last heard of and its loop last moved; until when it said to be busy."""

    kind: str
    running: bool
    heard: bool
    t_heard_ns: int
    t_moved_ns: int
    busy_until_ns: int


def judge(moves: Moves, now_ns: int, limits: Limits) -> Hang:
    """Return what is wrong with a stage that is not over."""
    # A long call that was announced may keep every thread of the process from its turn.
    silence_ns = now_ns - max(moves.t_heard_ns, moves.busy_until_ns)
    if silence_ns >= _silence_limit_ns(moves, limits):
        return Hang.FROZEN
    if not moves.running:
        return Hang.NO
    still_ns = now_ns - max(moves.t_moved_ns, moves.busy_until_ns)
    if moves.kind == "acquire":
        over = limits.no_frames_ns is not None and still_ns >= limits.no_frames_ns
        return Hang.NO_FRAMES if over else Hang.NO
    if moves.kind in ("denoise", "view"):
        return Hang.STUCK if still_ns >= limits.silence_ns else Hang.NO
    if still_ns >= limits.stuck_recorder_ns:
        return Hang.STUCK
    return Hang.SLOW if still_ns >= limits.slow_ns else Hang.NO


def _silence_limit_ns(moves: Moves, limits: Limits) -> int:
    if not moves.heard:
        return limits.first_word_ns
    return limits.silence_ns if moves.running else limits.opening_ns
