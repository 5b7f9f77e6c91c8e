"""Every frame the clean stream does not hold is named once, in order, with its reason."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livedenoise.denoise.gaps import SKIPPED, CleanGaps

FATES = ("published", "skipped", "camera", "torn", "clean_ring_full")


@given(st.lists(st.sampled_from(FATES), min_size=1, max_size=60))
def test_every_missing_frame_is_named_once_between_the_right_frames(fates: list[str]) -> None:
    gaps, told = CleanGaps(), dict[int, str]()
    fates = ["published", *fates]
    for seq, fate in enumerate(fates):
        if fate == "camera":
            gaps.lost(seq, seq, fate)
        elif fate != "skipped":
            gaps.took(seq)
        if fate in ("torn", "clean_ring_full"):
            gaps.lost(seq, seq, fate)
        if fate == "published":
            for gap in gaps.take(seq):
                assert gap.last < seq
                told |= dict.fromkeys(range(gap.first, gap.last + 1), gap.reason)
    for gap in gaps.take(None):
        told |= dict.fromkeys(range(gap.first, gap.last + 1), gap.reason)
    last = max(seq for seq, fate in enumerate(fates) if fate != "skipped")
    expected = {s: f for s, f in enumerate(fates) if f != "published" and s <= last}
    assert told == expected


def test_a_gap_ahead_of_a_frame_in_flight_waits_for_it() -> None:
    gaps = CleanGaps()
    gaps.took(0)
    gaps.took(1)
    gaps.lost(2, 4, "camera")
    assert gaps.take(0) == []
    assert gaps.take(1) == []
    gaps.took(5)
    assert [(g.first, g.last) for g in gaps.take(5)] == [(2, 4)]


def test_the_seam_of_a_replaced_writer_has_its_own_reason_once() -> None:
    gaps = CleanGaps()
    gaps.took(0)
    gaps.seam("camera_restarted")
    gaps.took(5)
    gaps.took(9)
    assert [g.reason for g in gaps.take(None)] == ["camera_restarted", SKIPPED]


def test_gaps_never_grow_without_bound() -> None:
    gaps = CleanGaps()
    for seq in range(0, 10_000, 2):
        gaps.took(seq)
    found = gaps.take(None)
    assert len(found) <= 65
    assert (found[0].first, found[-1].last) == (1, 9997)
