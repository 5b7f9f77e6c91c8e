"""Watch a live view that somebody else runs: look at its frames, take none of them.

Knows: how the core's sequence buffer looks from outside, what a look costs. Must not know: who
wants the frames, threads, sockets. Only ever reads: nothing is popped, cleared, set or stopped.

A look copies the frame, so it is only taken when there is something new to see: the number of
waiting frames says so for nothing, and frames already seen are not looked at again. Frames older
than the newest are found by their distance from it, which grows whenever another frame comes; so
each one is judged by its own ``ImageNumber``, and looked for again where it slipped.

A frame is lost to us when we are late: the live view's buffer is cleared as a whole when it is
full, or somebody pops its frames. It is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, Taken
from livedenoise.micromanager.following import Follower, Relation, Stamp, numbers_restart
from livedenoise.micromanager.tags import FrameTags

_TRUST_POLLS = 8
"""After so many polls with the same number of waiting frames, look whether they are the same."""

_ASK_NS = 1_000_000_000
"""Where none of the newest frames is ours: ask again after this time whose they are."""
_MOST_CHANNELS = 16
"""Of a multi-camera device: the newest frame of ours is not searched for beyond so many others."""


class Seen(NamedTuple):
    """One frame of the live view. See ``following.Place`` for the numbers."""

    taken: Taken
    number: int
    lost_before: int
    restarted: bool
    loss_unknown: bool
    loss_estimated: bool = False


class _Look(NamedTuple):
    taken: Taken
    stamp: Stamp


class Peeker:
    """Finds the new frames of one channel.

    Parameters
    ----------
    core : Core
        Somebody else's.
    channel : int
        Of a multi-camera device; the other channels' frames are passed over, at the price of a
        look at each. A camera used alone has channel 0 only, whatever its frames say: a
        multi-camera device leaves its mark on its cameras.
    most : int
        Frames that one poll returns; when more came, the newest of them, the others are lost.
    most_bytes : int
        Bytes that one poll returns; it returns one frame at least.
    most_s : float
        No further frame is looked for after this time; older ones are lost.
    clock : callable
        Monotonic nanoseconds.

    Attributes
    ----------
    looks : int
        Copies made, also of frames that turned out to be seen or of another channel.
    unfit : int
        Copies thrown away: the camera's format was changed during the copy.
    other_channels : int
        Frames of other channels that were looked at.
    others_since_ns : int or None
        Since when only frames of other channels come; None while that is not so.
    """

    def __init__(
        self,
        core: Core,
        *,
        channel: int = 0,
        most: int = 64,
        most_bytes: int = 128 << 20,
        most_s: float = 0.5,
        clock: Callable[[], int] = now_ns,
    ) -> None:
        self._core = core
        self._channel = channel
        self._most = most
        self._most_bytes = most_bytes
        self._most_ns = round(most_s * 1e9)
        self._clock = clock
        # In this process a look holds the interpreter's lock while it asks the camera for its
        # size, and the camera may be busy: then it is waited for before, without that lock.
        self._wait_before_look = core.backend == "python"
        self._numbers_restart = numbers_restart(core.versions().mmcore)
        self._follower = Follower()
        self._waiting = 0
        self._same_polls = 0
        self._over = False
        self._popped = False
        self._format: tuple[tuple[int, int], str] | None = None
        self._alone: bool | None = None
        self._asked_ns = 0
        self.others_since_ns: int | None = None
        self.looks = self.unfit = self.other_channels = 0

    @property
    def period_ns(self) -> float:
        """Return the time from frame to frame as the elapsed times tell it, 0.0 if unknown."""
        return self._follower.period_ns

    def poll(self) -> list[Seen]:
        """Return the frames that came since the last poll, the oldest first.

        The first poll that finds any returns the newest frame only.

        Raises
        ------
        CameraError
            If the core does not answer, or its frames cannot be told apart.
        """
        waiting = self._core.remaining()
        changed, self._waiting = waiting != self._waiting, waiting
        self._same_polls = 0 if changed else self._same_polls + 1
        doubtful = not changed and self._same_polls % _TRUST_POLLS == 0
        if waiting == 0 or not (changed or doubtful or self._popped):
            return []
        running = not (self._wait_before_look or doubtful) or self._core.running()
        if not running and ((self._over and not changed) or not self._fits()):
            return []
        found = self._new_frames()
        if not found:
            self._nothing_new(running, thorough=doubtful)
            return []
        # As many frames as before, and other ones: somebody takes them out.
        self._popped = self._popped or not changed
        self._over = False
        return [seen for look in reversed(found) for seen in self._numbered(look)]

    def _nothing_new(self, running: bool, *, thorough: bool) -> None:
        if thorough and not running and self._follower.last is not None:
            self._over = True
            self._follower.ended()

    def _new_frames(self) -> list[_Look]:
        """Return the new frames, the newest first."""
        deadline_ns = self._clock() + self._most_ns
        newest, before = self._newest()
        if newest is None:
            return []
        relation = self._follower.relation(newest.stamp)
        if relation is Relation.SEEN:
            return []
        if self._follower.last is None or relation is Relation.RESTARTED:
            self._begin()
            if not self._is_ours(newest):
                # The camera was used alone, and is one of several now.
                self._waiting = -1
                return []
        found = [newest]
        limit = min(self._most, max(1, self._most_bytes // max(1, newest.taken.pixels.nbytes)))
        for _ in range(2 * self._most + 8):
            enough = len(found) >= limit or self._clock() > deadline_ns
            if enough or self._complete(found[-1].stamp, relation):
                break
            look = self._look(before)
            if look is None:
                break
            step = self._step_back(found, look)
            if step == 0:
                break
            before += step
        return found

    def _newest(self) -> tuple[_Look | None, int]:
        """Return the newest frame of our channel, and how far back the one before it is."""
        others = self.other_channels
        for before in range(_MOST_CHANNELS):
            look = self._look(before)
            if look is not None and self._is_ours(look):
                self.others_since_ns = None
                return look, before + 1
            if look is None:
                break
            self.other_channels += 1
        if self.other_channels > others:
            self._only_others()
        return None, 0

    def _is_ours(self, look: _Look) -> bool:
        """Return whether a frame is of our channel; a camera alone has channel 0 only."""
        if look.taken.tags.channel == self._channel:
            return True
        return self._channel == 0 and self._is_alone()

    def _is_alone(self) -> bool:
        """Return whether one camera delivers; asked once a sequence, and only where it matters."""
        if self._alone is None:
            self._alone, self._asked_ns = self._core.channels() == 1, self._clock()
        return self._alone

    def _only_others(self) -> None:
        now = self._clock()
        if self.others_since_ns is None:
            self.others_since_ns = now
        if now - self._asked_ns >= _ASK_NS:
            # A new sequence in which nothing is ours is not noticed as one.
            self._alone = None

    def _complete(self, oldest: Stamp, relation: Relation) -> bool:
        """Return whether nothing new can be older than ``oldest``."""
        last = self._follower.last
        if last is None:
            return True
        # A buffer that was cleared, or filled by a new sequence, holds new frames only.
        seen = last.image_number if relation is Relation.NEXT else -1
        return oldest.image_number - 1 <= seen

    def _step_back(self, found: list[_Look], look: _Look) -> int:
        """Keep a frame if it is the next older one; return how much further back to look, or 0.

        The core numbers frames without a gap as they enter the buffer.
        """
        if not self._is_ours(look):
            self.other_channels += 1
            return 1
        oldest = found[-1].stamp
        wanted = oldest.image_number - 1
        if look.stamp.image_number > wanted:
            # Frames came meanwhile: what we look for is that much further back.
            return look.stamp.image_number - wanted
        later = look.stamp.elapsed_ns > oldest.elapsed_ns
        if later or look.stamp.image_number < wanted:
            # The buffer was cleared meanwhile: what we look for is gone.
            return 0
        found.append(look)
        return 1

    def _look(self, before_newest: int) -> _Look | None:
        if self._wait_before_look and before_newest:
            self._core.running()
        earliest_ns = self._clock()
        taken = self._core.peek(before_newest)
        latest_ns = self._clock()
        if taken is None:
            return None
        self.looks += 1
        tags, pixels = taken.tags, taken.pixels
        if pixels.shape != tags.shape or pixels.dtype.str != tags.dtype:
            self.unfit += 1
            self._waiting = -1  # look again, whatever the count says
            return None
        self._format = tags.shape, tags.dtype
        return _Look(taken, _stamp(tags, earliest_ns, latest_ns))

    def _fits(self) -> bool:
        """Return whether the camera still has the format of the frames in the buffer.

        Once it stands still its format may be changed under them, and a copy is then made by the
        new one. While it runs the core refuses that, or clears the buffer.
        """
        if self._format is None or not self._core.camera():
            return False
        return (self._core.image_shape(), self._core.dtype()) == self._format

    def _begin(self) -> None:
        """Take note of what holds for a whole sequence."""
        self._over = self._popped = False
        self._alone = None
        if self._numbers_restart:
            self._follower.wrap_frames = int(self._core.number("getBufferTotalCapacity"))

    def _numbered(self, look: _Look) -> tuple[Seen, ...]:
        """Return the frame with its number; nothing when the follower knows it."""
        place = self._follower.follow(look.stamp)
        return () if place is None else (Seen(look.taken, *place),)


def _stamp(tags: FrameTags, earliest_ns: int, latest_ns: int) -> Stamp:
    if tags.image_number < 0:
        raise CameraError(
            "the core's frames carry no ImageNumber: new ones cannot be told from old ones",
            "update Micro-Manager; 2.0 and later number their frames",
        )
    form = (tags.shape, tags.dtype, tags.roi_x, tags.roi_y, tags.binning)
    bounds = (-1, -1)
    if tags.age_ns >= 0:
        bounds = (max(0, earliest_ns - tags.age_ns), max(0, latest_ns - tags.age_ns))
    return Stamp(tags.image_number, tags.elapsed_ns, *bounds, form)
