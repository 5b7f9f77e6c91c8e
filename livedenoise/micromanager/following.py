"""One numbering for the frames of a live view that somebody else runs. Pure.

Knows: what the core says of a frame (ImageNumber, ElapsedTime-ms, when it was received), and how
these behave. Must not know: cores, buffers, clocks, pixels. One ``Follower`` per camera.

Our numbers start at 0, rise by one for each frame exposed, and a gap is frames lost.

- ``ImageNumber`` counts from 0 in each sequence. Until MMCore 12.2.2 it also starts again whenever
  the full buffer of a live view is cleared (a *wrap*); the elapsed time goes on then. What was lost
  at a wrap is estimated from the elapsed time and the frame period, and marked as an estimate.
- A new sequence starts both again. What the old one exposed after its last frame seen is not known,
  unless it was seen to its end (``ended``).
- A new sequence that was found late can look like the old one: both number and elapsed time may be
  beyond it. When the core says when it received a frame, the start of the frame's sequence tells
  them apart: received - elapsed.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum, auto
from statistics import fmean, median_low
from typing import NamedTuple

_GOES_ON = (12, 5)
"""From this MMCore, ImageNumber goes on when the full buffer is cleared."""
_INTERVALS = 9
"""Frame intervals the period is taken from: a new exposure is believed after five of them."""
_LIKE = 0.25
"""Intervals this far from their median (relative) are of another exposure, or late."""
_JITTER_NS = 250_000_000
"""A frame may be received this much later than its elapsed time says, on a busy machine."""


def numbers_restart(mmcore: str) -> bool:
    """Return whether this MMCore's ImageNumber starts again at a wrap; so does an unknown one's."""
    parts = re.findall(r"\d+", mmcore)
    return tuple(map(int, parts[:2])) < _GOES_ON


class Stamp(NamedTuple):
    """What the core says of one frame.

    ``elapsed_ns`` is -1 when not told. ``earliest_ns`` and ``latest_ns`` bound the moment at which
    the core received the frame, by any one monotonic clock; -1 when not known. ``form`` is whatever
    stays the same within a sequence: shape, region, pixel type.
    """

    image_number: int
    elapsed_ns: int = -1
    earliest_ns: int = -1
    latest_ns: int = -1
    form: tuple[object, ...] = ()


class Place(NamedTuple):
    """Where a frame stands among all that were exposed.

    Attributes
    ----------
    number : int
        Ours, from 0.
    lost_before : int
        Frames exposed since the one before and not seen, as far as it is known.
    restarted : bool
        The first one of a new sequence that was seen.
    loss_unknown : bool
        More may be lost than ``lost_before`` says, nobody can tell how many.
    loss_estimated : bool
        ``lost_before`` comes from the elapsed time and the frame period.
    """

    number: int
    lost_before: int = 0
    restarted: bool = False
    loss_unknown: bool = False
    loss_estimated: bool = False


class Relation(Enum):
    """How a frame follows the last one seen."""

    SEEN = auto()
    NEXT = auto()
    WRAPPED = auto()
    RESTARTED = auto()
    UNTRACEABLE = auto()


class Follower:
    """Numbers the frames of one camera.

    Frames are given in the order they were exposed; of frames already seen only the last one may
    come again, as the newest frame of a buffer does.

    Attributes
    ----------
    wrap_frames : int
        How many frames the core's buffer holds, where ``ImageNumber`` starts again at a wrap: one
        that nobody looked at is then noticed by the elapsed time. 0 where it goes on.
    """

    def __init__(self, wrap_frames: int = 0) -> None:
        self.wrap_frames = wrap_frames
        self._last: Stamp | None = None
        self._number = -1
        self._ended = False
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)

    @property
    def last(self) -> Stamp | None:
        """Return the last frame seen, None before the first."""
        return self._last

    @property
    def period_ns(self) -> float:
        """Return the time from frame to frame, 0.0 while it is not known."""
        if not self._intervals:
            return 0.0
        middle = median_low(self._intervals)
        return fmean(i for i in self._intervals if abs(i - middle) <= _LIKE * middle)

    def ended(self) -> None:
        """Take note that the sequence has ended and its last frame was seen."""
        self._ended = True

    def relation(self, stamp: Stamp) -> Relation:
        """Return how a frame follows the last one seen; changes nothing."""
        last = self._last
        if last is None:
            return Relation.NEXT
        if stamp.form != last.form:
            return Relation.RESTARTED
        if stamp.elapsed_ns < 0 or last.elapsed_ns < 0:
            return _by_number(stamp.image_number - last.image_number)
        return self._by_both(last, stamp)

    def follow(self, stamp: Stamp) -> Place | None:
        """Return a frame's number and what was lost before it, None when it was seen before."""
        relation = self.relation(stamp)
        if relation is Relation.SEEN:
            return None
        place = self._place(relation, stamp)
        self._learn_period(relation, stamp)
        self._last, self._number, self._ended = stamp, place.number, False
        return place

    def _place(self, relation: Relation, stamp: Stamp) -> Place:
        last = self._last
        if last is None:
            return Place(0)
        # In a new numbering, those before this one were exposed and not seen, whatever else was.
        lost, estimated = stamp.image_number, False
        unknown = relation is Relation.UNTRACEABLE
        if relation is Relation.NEXT:
            lost = stamp.image_number - last.image_number - 1
        elif relation is Relation.RESTARTED:
            unknown = not self._ended
        elif relation is Relation.WRAPPED:
            period_ns = self.period_ns
            estimated, unknown = period_ns > 0, period_ns <= 0
            if estimated:
                lost = max(lost, round((stamp.elapsed_ns - last.elapsed_ns) / period_ns) - 1)
        restarted = relation is Relation.RESTARTED
        return Place(self._number + 1 + lost, lost, restarted, unknown, estimated)

    def _learn_period(self, relation: Relation, stamp: Stamp) -> None:
        last = self._last
        if relation is Relation.NEXT and last is not None:
            elapsed = stamp.elapsed_ns - last.elapsed_ns
            if stamp.elapsed_ns >= 0 <= last.elapsed_ns and elapsed > 0:
                self._intervals.append(elapsed / (stamp.image_number - last.image_number))

    def _by_both(self, last: Stamp, stamp: Stamp) -> Relation:
        step = stamp.image_number - last.image_number
        elapsed = stamp.elapsed_ns - last.elapsed_ns
        moved = _moved_ns(last, stamp)
        late = moved is not None and moved > max(last.elapsed_ns // 2, _JITTER_NS)
        if step == elapsed == 0:
            return Relation.RESTARTED if late else Relation.SEEN
        if elapsed < 0:
            older = step < 0 and moved is not None and moved <= last.elapsed_ns // 2
            return Relation.SEEN if older else Relation.RESTARTED
        if late:
            return Relation.RESTARTED
        if step <= 0:
            return self._wrapped_or_restarted(last, stamp, moved)
        return Relation.WRAPPED if self._hides_a_wrap(step, elapsed) else Relation.NEXT

    def _hides_a_wrap(self, step: int, elapsed_ns: int) -> bool:
        """Return whether numbers that went on must have started again meanwhile."""
        period_ns = self.period_ns
        if not (self.wrap_frames and period_ns):
            return False
        # Number n after a wrap is beyond the last one seen only when a whole buffer came between.
        frames = round(elapsed_ns / period_ns)
        return frames >= max(self.wrap_frames, step + 2)

    def _wrapped_or_restarted(self, last: Stamp, stamp: Stamp, moved: int | None) -> Relation:
        """Judge a number that went backwards while the elapsed time went on."""
        period_ns = self.period_ns
        if moved is not None:
            restarted = moved > last.elapsed_ns // 2
            return Relation.RESTARTED if restarted else Relation.WRAPPED
        if period_ns:
            # At a wrap, number 0 was exposed after the last frame seen.
            began_ns = stamp.elapsed_ns - stamp.image_number * period_ns
            if began_ns < last.elapsed_ns / 2:
                return Relation.RESTARTED
        return Relation.WRAPPED


def _by_number(step: int) -> Relation:
    """Judge without elapsed times: a number that goes backwards says nothing more."""
    if step == 0:
        return Relation.SEEN
    return Relation.NEXT if step > 0 else Relation.UNTRACEABLE


def _moved_ns(last: Stamp, stamp: Stamp) -> int | None:
    """Return by how much at least the start of the sequence moved later, None when not known."""
    if stamp.earliest_ns < 0 or last.latest_ns < 0:
        return None
    return (stamp.earliest_ns - stamp.elapsed_ns) - (last.latest_ns - last.elapsed_ns)
