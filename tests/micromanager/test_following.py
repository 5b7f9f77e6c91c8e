"""Frames of a live view against a model of it: never twice, never backwards, losses exact."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_model import MS, Exposed, ViewModel

from livedenoise.micromanager.following import Follower, Place, Stamp

often = settings(deadline=None, max_examples=80)


class Step(NamedTuple):
    """What the follower said of a frame, and what is true."""

    frame: Exposed
    place: Place
    before: Exposed | None

    @property
    def lost(self) -> int:
        """Return how many frames were truly lost."""
        return 0 if self.before is None else self.frame.serial - self.before.serial - 1


def looks() -> st.SearchStrategy[list[tuple[str, int]]]:
    """Return what happens: frames come (then one looks), the same is seen again, a new sequence."""
    return st.lists(
        st.one_of(
            st.tuples(st.just("frames"), st.integers(1, 60)),
            st.tuples(st.just("again"), st.just(0)),
            st.tuples(st.just("restart"), st.integers(1, 40)),
            st.tuples(st.just("pop"), st.integers(1, 5)),
            st.tuples(st.just("exposure"), st.integers(1, 100)),
        ),
        max_size=60,
    )


def watch(
    view: ViewModel,
    follower: Follower,
    happens: list[tuple[str, int]],
    *,
    received: bool = True,
    jitter: float = 0.0,
) -> list[Step]:
    """Play what happens, look at the newest frame after each, and check what always holds."""
    steps: list[Step] = []
    view.start()
    for count, (what, value) in enumerate(happens):
        if what == "frames":
            view.expose(value, late_ns=round(jitter * view.period_ns * (count % 3 - 1)))
        elif what == "restart":
            view.start()
            view.expose(value)
        elif what == "exposure":
            view.period_ns = value * MS
        elif what == "pop":
            for _ in range(value):
                view.pop()
        if not view.buffer:
            continue
        frame = view.buffer[-1]
        before = steps[-1].frame if steps else None
        place = follower.follow(frame.stamp(received=received))
        if place is None:
            assert before == frame, "a new frame was taken for one already seen"
            continue
        assert before != frame, "a frame was numbered twice"
        assert place.number == (steps[-1].place.number + 1 + place.lost_before if steps else 0)
        assert place.lost_before >= 0
        steps.append(Step(frame, place, before))
    return steps


@often
@given(capacity=st.integers(1, 64), happens=looks())
def test_numbers_that_go_on_give_every_loss_exactly(
    capacity: int, happens: list[tuple[str, int]]
) -> None:
    view = ViewModel(capacity, restarts=False)
    for step in watch(view, Follower(), happens):
        restarted = step.before is not None and step.before.sequence != step.frame.sequence
        if not restarted:
            assert step.place == Place(step.place.number, step.lost)
            continue
        # What the old sequence exposed after its last frame seen is nobody's knowledge.
        assert step.place.lost_before == step.frame.number
        assert step.place.lost_before == step.lost or step.place.loss_unknown


@often
@given(capacity=st.integers(1, 64), happens=looks())
def test_every_new_sequence_is_told(capacity: int, happens: list[tuple[str, int]]) -> None:
    view = ViewModel(capacity, restarts=False)
    for step in watch(view, Follower(), happens):
        new = step.before is not None and step.before.sequence != step.frame.sequence
        assert step.place.restarted == new


@often
@given(
    capacity=st.integers(12, 64),
    period_ms=st.integers(1, 200),
    jitter=st.sampled_from([0.0, 0.03]),
    stalls=st.lists(st.integers(1, 12), max_size=80),
)
def test_a_steady_rate_gives_the_loss_of_wraps_exactly(
    capacity: int, period_ms: int, jitter: float, stalls: list[int]
) -> None:
    view = ViewModel(capacity, restarts=True, period_ms=period_ms)
    follower = Follower(wrap_frames=capacity)
    for step in watch(view, follower, [("frames", n) for n in stalls], jitter=jitter):
        place = step.place
        assert not place.restarted
        # At a wrap right after the first frame seen, the period is not known.
        assert place.lost_before == step.lost or place.loss_unknown
        assert place.lost_before <= step.lost


@often
@given(capacity=st.integers(1, 64), happens=looks(), received=st.booleans())
def test_a_loss_that_cannot_be_known_is_never_hidden(
    capacity: int, happens: list[tuple[str, int]], received: bool
) -> None:
    # The period is known first: three frames seen one after the other.
    calm = [("frames", 1)] * 3 + [one for one in happens if one[0] != "exposure"]
    if not received:
        # The same frame of two sequences then looks the same.
        calm = [one for one in calm if one[0] != "restart"]
    view = ViewModel(capacity, restarts=True)
    for step in watch(view, Follower(wrap_frames=capacity), calm, received=received):
        place = step.place
        told = place.loss_unknown or place.loss_estimated
        assert place.lost_before == step.lost or told


@often
@given(capacity=st.integers(1, 64), restarts=st.booleans(), happens=looks())
def test_never_twice_never_backwards_whatever_happens(
    capacity: int, restarts: bool, happens: list[tuple[str, int]]
) -> None:
    watch(ViewModel(capacity, restarts=restarts), Follower(), happens)


def test_a_sequence_seen_to_its_end_leaves_no_doubt() -> None:
    follower = Follower()
    for number in range(3):
        follower.follow(Stamp(number, number * 10 * MS))
    follower.ended()
    assert follower.follow(Stamp(1, 10 * MS)) == Place(4, 1, restarted=True)


def test_a_new_sequence_found_late_is_told_by_when_its_frames_were_received() -> None:
    second = 1000 * MS

    def at(number: int, elapsed_ns: int, received_ns: int) -> Stamp:
        return Stamp(number, elapsed_ns, received_ns - 1000, received_ns + 1000)

    follower = Follower()
    follower.follow(at(99, second, 5 * second))
    # Beyond the old one in number and elapsed time, in a sequence that began at 7 s.
    place = follower.follow(at(199, 2 * second, 9 * second))
    assert place == Place(200, 199, restarted=True, loss_unknown=True)


def test_without_when_it_was_received_a_late_new_sequence_is_told_from_a_wrap_by_its_start() -> (
    None
):
    follower = Follower(wrap_frames=500)
    for number in (98, 99):
        follower.follow(Stamp(number, (number + 1) * 10 * MS))
    # Number 79 at 1.2 s began 0.8 s before: a wrap would have begun it after 1 s.
    assert follower.follow(Stamp(79, 1200 * MS)) == Place(81, 79, restarted=True, loss_unknown=True)


def test_a_new_sequence_right_after_a_short_one_is_no_wrap() -> None:
    follower = Follower()
    for number in range(6):
        follower.follow(Stamp(number, (number + 1) * MS, (number + 101) * MS, (number + 101) * MS))
    # 6 ms of a first sequence; 10 ms later a second one, at its third frame after 7 ms.
    place = follower.follow(Stamp(2, 7 * MS, 123 * MS, 123 * MS))
    assert place == Place(8, 2, restarted=True, loss_unknown=True)


def test_another_format_is_another_sequence() -> None:
    follower = Follower()
    follower.follow(Stamp(3, 40 * MS, form=((512, 512),)))
    place = follower.follow(Stamp(4, 50 * MS, form=((64, 64),)))
    assert place == Place(5, 4, restarted=True, loss_unknown=True)


def test_a_wrap_that_nobody_looked_at_is_noticed_by_the_time() -> None:
    follower = Follower(wrap_frames=32)
    follower.follow(Stamp(2, 30 * MS))
    follower.follow(Stamp(3, 40 * MS))
    # One buffer of 32 later: frame 41 of the view has number 9.
    assert follower.follow(Stamp(9, 420 * MS)) == Place(39, 37, loss_estimated=True)


def test_without_elapsed_times_a_number_that_goes_backwards_is_said_to_be_unknown() -> None:
    follower = Follower()
    assert follower.follow(Stamp(7)) == Place(0)
    assert follower.follow(Stamp(7)) is None
    assert follower.follow(Stamp(9)) == Place(2, 1)
    assert follower.follow(Stamp(1)) == Place(4, 1, loss_unknown=True)


@pytest.mark.parametrize("late_ms", [0, 40, 200])
def test_a_frame_received_late_is_no_new_sequence(late_ms: int) -> None:
    follower = Follower()
    for number in range(20):
        late_ns = late_ms * MS if number == 10 else 0
        received_ns = 10**10 + number * 10 * MS + late_ns
        place = follower.follow(Stamp(number, number * 10 * MS, received_ns, received_ns))
        assert place == Place(number)


def test_a_new_exposure_is_believed_after_a_few_frames() -> None:
    follower, elapsed_ns = Follower(), 0
    for number in range(40):
        elapsed_ns += (10 if number < 30 else 100) * MS
        follower.follow(Stamp(number, elapsed_ns))
    assert follower.period_ns == pytest.approx(100 * MS)
