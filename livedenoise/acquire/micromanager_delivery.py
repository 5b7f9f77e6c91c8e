"""From a frame out of Micro-Manager's core to one the pump takes: slot, copy, facts.

Knows: how long a full ring may be waited for, which number a frame gets. Must not know: how frames
are got from the core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from livedenoise.client import FrameSender
from livedenoise.core.camera import Captured, Event, GetSlot
from livedenoise.core.clock import now_ns
from livedenoise.core.frame import Frame, FrameFlags, max_count
from livedenoise.micromanager.core import Taken
from livedenoise.micromanager.setup import Format
from livedenoise.micromanager.tags import FrameTags, placing

RING_FULL = "ring_full"
_SLICE_S = 0.02
_FORWARD_S = 0.1


class Delivery:
    """Hands frames on, those of other channels to their own cameras.

    Parameters
    ----------
    form : Format
        What the camera was set to.
    room_s : callable
        How long the core's buffer can still take frames that are not popped, seconds.
    channel : int or None
        Which frames are ours; None when there is one camera only: all are, whatever their tags
        say (a multi-camera device leaves its tag on the cameras it used).
    counts : Counter
        Frames of other channels are added, by what became of them.

    Attributes
    ----------
    form : Format
        Changes with the camera's region or binning.
    delivered : int
        Frames of our own channel handed on, pixels or not.
    after_gap : bool
        Whether frames that nobody can count are missing before the next one.
    """

    def __init__(
        self,
        form: Format,
        *,
        get_slot: GetSlot,
        room_s: Callable[[], float],
        channel: int | None,
        forward: dict[int, FrameSender],
        counts: Counter[str],
    ) -> None:
        self.form = form
        self.delivered = 0
        self.after_gap = False
        self._counts = counts
        self._get_slot = get_slot
        self._room_s = room_s
        self._channel = channel
        self._forward = forward
        self._taken_before = True
        self._t_host_ns = 0

    def take(self, taken: Taken, number: int, event: Event | None = None) -> Captured | None:
        """Hand a frame on; None when it is another channel's.

        ``number`` is the camera's, from 0, in which a gap means lost frames.
        """
        tags = taken.tags
        # A busy machine may hold us up between the reading of an age and this: order stays.
        t_host_ns = self._t_host_ns = max(self._t_host_ns, now_ns() - max(0, tags.age_ns))
        if self._channel is not None and tags.channel != self._channel:
            self._send_on(taken, number)
            return None
        slot = self._wait_for_slot(taken)
        flags = FrameFlags.AFTER_GAP if self.after_gap else FrameFlags.NONE
        if slot is not None:
            np.copyto(slot, taken.pixels)
            if int(slot.max()) >= max_count(self.form.bit_depth):
                flags |= FrameFlags.SATURATED
        self.delivered += 1
        self.after_gap = False
        return self._captured(
            tags,
            number,
            t_host_ns,
            event,
            flags=flags,
            discarded="" if slot is not None else RING_FULL,
        )

    def _captured(
        self,
        tags: FrameTags,
        number: int,
        t_host_ns: int,
        event: Event | None,
        *,
        flags: FrameFlags,
        discarded: str,
    ) -> Captured:
        place = placing(tags, roi=self.form.roi[:2], binning=self.form.binning)
        return Captured(
            camera_seq=number,
            t_host_ns=t_host_ns,
            t_camera_ns=max(0, tags.elapsed_ns),
            shape=tags.shape,
            dtype=tags.dtype,
            exposure_us=self.form.exposure_us if event is None else event.exposure_us,
            roi_x=place.roi_x,
            roi_y=place.roi_y,
            binning=place.binning,
            channel=self._channel or 0,
            event=-1 if event is None else event.index,
            role="" if event is None else event.role,
            flags=int(flags),
            discarded=discarded,
        )

    def _wait_for_slot(self, taken: Taken) -> Frame | None:
        """Return a slot; None when the core's own buffer is about to be full, or time is over."""
        left_s, shape = -1.0, taken.tags.shape
        while True:
            slot = self._get_slot(shape, taken.tags.dtype, _SLICE_S if left_s else 0.0)
            if slot is not None:
                return slot
            room_s = self._room_s()
            left_s = room_s if left_s < 0 else min(room_s, left_s - _SLICE_S)
            if left_s <= 0:
                return None

    def _send_on(self, taken: Taken, number: int) -> None:
        sender = self._forward.get(taken.tags.channel)
        if sender is None:
            self._counts["channel_not_taken"] += 1
            return
        tags = taken.tags
        place = placing(tags, roi=self.form.roi[:2], binning=self.form.binning)
        sent = sender.send(
            taken.pixels,
            exposure_us=self.form.exposure_us,
            camera_seq=number,
            t_camera_ns=max(0, tags.elapsed_ns),
            roi_x=place.roi_x,
            roi_y=place.roi_y,
            binning=place.binning,
            channel=tags.channel,
            # One that takes nothing is not waited for again: our own frames are due meanwhile.
            timeout_s=_FORWARD_S if self._taken_before else 0.0,
        )
        self._taken_before = sent
        self._counts["forwarded" if sent else "not_forwarded"] += 1
