"""Joining two streams by number, with every frame that can be missing missing."""

from __future__ import annotations

from collections import deque
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import make_header

from livedenoise.bus import wire
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.core.frame import FrameFlags
from livedenoise.view.bursts import BurstTaker, Taken, discard_waiting

SHAPE = (20, 30)
DENOISED = int(FrameFlags.DENOISED)


class Frames:
    """Stands in for a reader: the frames that wait."""

    def __init__(self, *seqs: int, torn: tuple[int, ...] = (), flags: int = 0) -> None:
        self.waiting: deque[Received | wire.Gap] = deque()
        self.torn, self.flags = torn, flags
        self.held = 0
        self.add(*seqs)

    def add(self, *seqs: int, epoch: int = 0, shape: tuple[int, int] = SHAPE) -> None:
        for seq in seqs:
            header = make_header(
                seq, epoch=epoch, height=shape[0], width=shape[1], flags=self.flags
            )
            pixels = np.full(shape, 10 * seq + bool(self.flags), np.uint16)
            self.waiting.append(Received(header=header, pixels=pixels))

    def read(self, _timeout_s: float) -> Received | wire.Gap | None:
        if not self.waiting:
            return None
        self.held += 1
        return self.waiting.popleft()

    def release(self, frame: Received) -> bool:
        self.held -= 1
        return frame.header.seq not in self.torn

    @property
    def reader(self) -> FrameReader:
        return cast("FrameReader", self)


def taker() -> BurstTaker:
    return BurstTaker(preview_px=8, patience_ns=100)


def take(found: BurstTaker, raw: Frames, clean: Frames | None, now_ns: int = 0) -> Taken | None:
    return found.take(raw.reader, None if clean is None else clean.reader, now_ns, 0.0)


def seqs_of(taken: Taken | None) -> list[int]:
    assert taken is not None, "no burst"
    return [int(block[0, 0]) // 10 for block in taken.burst.raw]


def test_four_in_a_row_and_the_first_denoised() -> None:
    raw, clean = Frames(3, 4, 5, 6, 7), Frames(1, 2, 3, 4, flags=DENOISED)
    taken = take(taker(), raw, clean)
    assert seqs_of(taken) == [3, 4, 5, 6]
    assert taken is not None
    assert taken.header.seq == 3
    assert taken.burst.denoised is not None
    assert taken.clean is not None
    assert taken.burst.denoised[0, 0] == taken.clean[0, 0] == 31
    assert taken.raw.shape == taken.clean.shape == (8, 8)
    assert taken.burst.denoised.shape == SHAPE
    assert raw.held == clean.held == 0


def test_a_gap_an_epoch_and_a_shape_start_the_burst_again() -> None:
    assert seqs_of(take(taker(), Frames(1, 2, 3, 5, 6, 7, 8), None)) == [5, 6, 7, 8]
    raw = Frames(1, 2)
    raw.add(3, 4, 5, epoch=1)
    raw.add(6, 7, 8, 9, epoch=1, shape=(22, 30))
    assert seqs_of(take(taker(), raw, None)) == [6, 7, 8, 9]


def test_a_torn_frame_is_counted_and_never_used() -> None:
    found = taker()
    assert seqs_of(take(found, Frames(1, 2, 3, 4, 5, 6, 7, torn=(3,)), None)) == [4, 5, 6, 7]
    assert found.counts["torn"] == 1
    clean = Frames(1, torn=(1,), flags=DENOISED)
    taken = [take(found, Frames(1, 2, 3, 4), clean)]
    taken += [take(found, Frames(), clean, now_ns) for now_ns in (1, 200)]
    assert taken[:2] == [None, None]
    assert taken[2] is not None
    assert taken[2].burst.denoised is None
    assert found.counts == {"torn": 2, "unmatched": 1}


def test_a_frame_that_passed_through_is_not_denoised() -> None:
    clean = Frames(1, flags=int(FrameFlags.PASSTHROUGH))
    taken = take(taker(), Frames(1, 2, 3, 4), clean)
    assert seqs_of(taken) == [1, 2, 3, 4]
    assert taken is not None
    assert taken.burst.denoised is None
    assert taken.clean is None


def test_raw_frames_that_were_never_denoised_are_passed_over() -> None:
    raw, clean = Frames(1, 2, 3, 4, 5, 6), Frames(3, flags=DENOISED)
    found = taker()
    assert take(found, raw, clean) is None or True
    taken = take(found, raw, clean)
    assert seqs_of(taken) == [3, 4, 5, 6]
    assert taken is not None
    assert taken.burst.denoised is not None


def test_a_silent_clean_stream_is_waited_for_once() -> None:
    found, clean = taker(), Frames(flags=DENOISED)
    raw = Frames(*range(12))
    assert take(found, raw, clean, 1000) is None
    assert take(found, raw, clean, 1100) is None
    assert seqs_of(take(found, raw, clean, 1101)) == [0, 1, 2, 3]
    assert seqs_of(take(found, raw, clean, 1102)) == [4, 5, 6, 7]
    clean.add(8)
    taken = take(found, raw, clean, 1103)
    assert taken is not None
    assert taken.burst.denoised is not None
    raw.add(*range(12, 16))
    assert take(found, raw, clean, 1104) is None, "it is waited for again"
    assert found.counts["unmatched"] == 2


def test_after_a_reset_nothing_of_the_old_stream_is_left() -> None:
    found = taker()
    assert take(found, Frames(1, 2, 3), Frames(5, flags=DENOISED)) is None
    found.reset()
    taken = take(found, Frames(0, 1, 2, 3), Frames(0, flags=DENOISED))
    assert seqs_of(taken) == [0, 1, 2, 3]


def test_what_waits_is_given_back() -> None:
    frames = Frames(1, 2, 3)
    frames.waiting.append(wire.Gap(first=4, last=5, reason="lost"))
    discard_waiting(frames.reader)
    assert not frames.waiting
    assert frames.held == 1, "a gap is not released"


SEQS = st.lists(st.booleans(), min_size=0, max_size=40)


@settings(max_examples=60, deadline=None)
@given(raw_kept=SEQS, clean_kept=SEQS, chunk=st.integers(1, 7))
def test_whatever_is_missing_a_burst_is_four_in_a_row_with_its_own_clean_frame(
    raw_kept: list[bool], clean_kept: list[bool], chunk: int
) -> None:
    raw_seqs = [seq for seq, kept in enumerate(raw_kept) if kept]
    clean_seqs = [seq for seq, kept in enumerate(clean_kept) if kept]
    raw, clean, found = Frames(), Frames(flags=DENOISED), taker()
    for now in range(60):
        raw.add(*raw_seqs[now * chunk : (now + 1) * chunk])
        clean.add(*clean_seqs[now * chunk : (now + 1) * chunk])
        taken = take(found, raw, clean, now * 30)
        if taken is None:
            continue
        first = seqs_of(taken)[0]
        assert seqs_of(taken) == list(range(first, first + 4))
        assert taken.header.seq == first
        if taken.burst.denoised is not None:
            assert taken.burst.denoised[0, 0] == 10 * first + 1
    assert raw.held == clean.held == 0


def test_crops_fit_small_frames() -> None:
    raw = Frames()
    raw.add(0, 1, 2, 3, shape=(3, 5))
    taken = take(taker(), raw, None)
    assert taken is not None
    assert taken.raw.shape == (3, 5)
    with pytest.raises(AttributeError):
        taken.seq = 3  # type: ignore[attr-defined]
