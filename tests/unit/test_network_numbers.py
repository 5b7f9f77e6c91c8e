"""A sender's numbers become the camera's: a loss shows, a new sender invents none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from livedenoise.acquire.network import MAX_JUMP, SenderNumbers
from livedenoise.acquire.numbering import Numbering
from livedenoise.core.camera import Captured


@given(
    st.lists(st.tuples(st.integers(0, 2**60), st.lists(st.integers(1, 50), max_size=8)), max_size=5)
)
def test_losses_within_a_session_add_up_and_none_is_invented_between(
    sessions: list[tuple[int, list[int]]],
) -> None:
    numbers, pump = SenderNumbers(), Numbering()
    lost, expected_lost = 0, 0
    for session, (first, steps) in enumerate(sessions):
        theirs = first
        for step in [0, *steps]:
            theirs += step
            expected_lost += max(0, step - 1)
            found = numbers.number(f"session {session}", theirs)
            captured = Captured(camera_seq=found, t_host_ns=1, shape=(1, 1))
            lost += pump.number(captured)[1]
    assert lost == expected_lost
    assert numbers.renumbered == 0


def test_the_first_frame_is_0_whatever_the_sender_calls_it() -> None:
    assert SenderNumbers().number("a", 5000) == 0


def test_a_frame_sent_twice_keeps_its_number() -> None:
    numbers = SenderNumbers()
    assert [numbers.number("a", theirs) for theirs in (7, 8, 8, 9)] == [0, 1, 1, 2]


def test_a_camera_that_counts_again_goes_on() -> None:
    numbers = SenderNumbers()
    assert [numbers.number("a", theirs) for theirs in (7, 8, 0, 1, 3)] == [0, 1, 2, 3, 5]
    assert numbers.renumbered == 1


def test_a_jump_beyond_reason_is_a_new_numbering() -> None:
    numbers = SenderNumbers()
    jumps = (0, MAX_JUMP, 2 * MAX_JUMP + 1, 2**61)
    assert [numbers.number("a", theirs) for theirs in jumps] == [
        0,
        MAX_JUMP,
        MAX_JUMP + 1,
        MAX_JUMP + 2,
    ]
    assert numbers.renumbered == 2
