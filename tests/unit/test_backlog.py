"""Which frame a reader takes next: order is kept, and nothing is lost without being counted."""

from __future__ import annotations

from collections import deque

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from stream_kit import make_header

from livedenoise.bus.backlog import Latest, Lossless, Policy, take
from livedenoise.core.frame import FrameHeader

TEMPLATE = make_header(seq=0)
ARRIVALS = st.lists(
    st.one_of(
        st.tuples(st.just("frame"), st.integers(0, 40)),
        st.tuples(st.just("take"), st.integers(0, 40)),
    ),
    max_size=60,
)
"""A history: frames arrive and are taken; each event comes that much later than the one before."""

LATEST = st.builds(Latest, max_backlog=st.integers(1, 6), max_age_ns=st.integers(0, 100))


def frame(seq: int, t_host_ns: int) -> FrameHeader:
    return msgspec.structs.replace(TEMPLATE, seq=seq, t_host_ns=t_host_ns)


def play(policy: Policy, history: list[tuple[str, int]]) -> tuple[list[FrameHeader], list[int]]:
    """Return the frames taken and the seqs of all frames in the order they left the queue."""
    pending: deque[FrameHeader] = deque()
    taken, left = [], []
    seq = now_ns = 0
    for what, step_ns in history:
        now_ns += step_ns
        if what == "frame":
            pending.append(frame(seq, now_ns))
            seq += 1
            continue
        before = len(pending)
        header, skipped = take(pending, policy, now_ns)
        left += [one.seq for one in skipped]
        if header is not None:
            taken.append(header)
            left.append(header.seq)
        assert len(pending) == before - len(skipped) - (header is not None)
    assert left + [one.seq for one in pending] == list(range(seq))
    return taken, left


@given(ARRIVALS)
def test_lossless_takes_every_frame_in_order(history: list[tuple[str, int]]) -> None:
    taken, left = play(Lossless(), history)
    assert [one.seq for one in taken] == left


@given(LATEST, ARRIVALS)
def test_latest_keeps_order_and_accounts_for_every_frame(
    policy: Latest, history: list[tuple[str, int]]
) -> None:
    taken, left = play(policy, history)
    seqs = [one.seq for one in taken]
    assert seqs == sorted(set(seqs))
    assert left == sorted(left)


@given(LATEST, st.lists(st.integers(0, 200), min_size=1, max_size=12), st.integers(0, 300))
def test_latest_skips_only_when_behind_and_then_to_the_newest(
    policy: Latest, times_ns: list[int], now_ns: int
) -> None:
    pending = deque(frame(seq, t) for seq, t in enumerate(sorted(times_ns)))
    n_frames, oldest_ns = len(pending), pending[0].t_host_ns
    behind = n_frames > policy.max_backlog or now_ns - oldest_ns > policy.max_age_ns
    header, skipped = take(pending, policy, now_ns)
    assert header is not None
    if behind:
        assert header.seq == n_frames - 1
        assert [one.seq for one in skipped] == list(range(n_frames - 1))
    else:
        assert header.seq == 0
        assert skipped == []


def test_nothing_waits() -> None:
    for policy in (Lossless(), Latest(3, 10)):
        assert take(deque(), policy, 0) == (None, [])


def test_ordinary_jitter_skips_nothing() -> None:
    """Three frames that arrive at once, after a pause of the scheduler, are all read."""
    policy = Latest(max_backlog=3, max_age_ns=40)
    pending = deque(frame(seq, 10 * seq) for seq in range(3))
    assert [_taken_seq(pending, policy, 25 + k) for k in range(3)] == [0, 1, 2]


def _taken_seq(pending: deque[FrameHeader], policy: Policy, now_ns: int) -> int:
    header, skipped = take(pending, policy, now_ns)
    assert header is not None
    assert not skipped
    return header.seq
