"""The way of images from a user's acquisition to the daemon: copied, queued, sent by a thread.

The acquisition's thread only copies the pixels into memory that is in use already and goes on. A
thread of the line sends them. The queue between the two is bounded by bytes; when it is full the
oldest image leaves, counted as ``overtaken``. Images are numbered before that, so that the daemon
sees what is missing. Law:
``offered == waiting + overtaken + facts + closed + sender.offered``, but for the one in hand.

Knows: frames, one FrameSender. Must not know: pycromanager, events, other lines.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from livedenoise.client.hooking.axes import AxesFacts
from livedenoise.client.hooking.counts import LineCounts
from livedenoise.client.hooking.words import Words
from livedenoise.client.sender import FrameSender
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import BusError
from livedenoise.core.frame import Frame
from livedenoise.micromanager.tags import Placing

_TICK_S = 0.05
_ROOM_S = 0.2
"""Longest wait for room at the other end; images that come meanwhile wait in the queue."""

_MOST_WAITING = 256
_KEPT_BUFFERS = 32
_HELD_BYTES = 16 << 20
"""Copied without letting go of the GIL. pycromanager's engine spins while it waits for images: a
thread that lets go of the GIL for a copy of a millisecond may wait many to go on."""


class Offer(msgspec.Struct):
    """One image on its way. ``describe`` is asked in the line's thread."""

    pixels: Frame
    stamp_ns: int
    placing: Placing
    describe: Callable[[], AxesFacts]
    number: int = -1
    is_ours: bool = False


class Line:
    """Sends the images of one endpoint, for the hooks that ``join`` it.

    Parameters
    ----------
    endpoint : str
        A network camera's ``listen``.
    keys : Path or None
        Client's folder of CURVE keys.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """

    def __init__(self, endpoint: str, *, keys: Path | None) -> None:
        self.endpoint = endpoint
        self._users: tuple[Words, ...] = ()
        self._sender = FrameSender(endpoint, keys=keys)
        self._buffer_bytes = 0
        self._changed = threading.Condition()
        self._waiting: deque[Offer] = deque()
        self._free: list[Frame] = []
        self._in_hand = False
        self._offered = 0
        self._dropped: Counter[str] = Counter()
        self._deadline_ns: int | None = None
        self._ready = False
        self._was_ready = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"hook {endpoint}", daemon=True)
        self._thread.start()

    def join(self, words: Words, buffer_mb: int) -> None:
        """Tell this user too from now on, and hold at least ``buffer_mb`` of waiting images."""
        with self._changed:
            self._users += (words,)
            self._buffer_bytes = max(self._buffer_bytes, buffer_mb << 20)

    def leave(self, words: Words) -> None:
        """Tell this user no more."""
        with self._changed:
            users = list(self._users)
            users.remove(words)
            self._users = tuple(users)

    def offer(self, given: Offer, *, copy: bool) -> None:
        """Take an image to send; with ``copy`` its pixels may be changed after this returns."""
        if copy:
            buffer = self._buffer(given.pixels)
            _copy(given.pixels, buffer)
            given.pixels, given.is_ours = buffer, True
        with self._changed:
            given.number = self._offered
            self._offered += 1
            if self._deadline_ns is not None:
                self._drop(given, "closed")
                return
            self._waiting.append(given)
            while len(self._waiting) > self._room(given.pixels):
                self._drop(self._waiting.popleft(), "overtaken")
            self._changed.notify()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the daemon takes images; return whether it does."""
        return self._was_ready.wait(timeout_s)

    def counts(self) -> LineCounts:
        """Return what became of the images so far."""
        sender = self._sender.counts()
        with self._changed:
            return LineCounts(
                offered=self._offered,
                waiting=len(self._waiting) + self._in_hand,
                dropped=dict(self._dropped),
                sender=sender,
            )

    def flush(self, timeout_s: float) -> bool:
        """Wait until no image waits or is on its way; return whether that came true."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        with self._changed:
            done = self._changed.wait_for(
                lambda: not self._waiting and not self._in_hand, max(0.0, timeout_s)
            )
        return done and self._sender.flush(max(0.0, (deadline_ns - now_ns()) * 1e-9))

    def close(self, linger_s: float) -> None:
        """Give what waits ``linger_s`` to arrive, then end. Idempotent."""
        with self._changed:
            if self._deadline_ns is None:
                self._deadline_ns = now_ns() + int(linger_s * 1e9)
            deadline_ns = self._deadline_ns
            self._changed.notify()
        # A frame in hand may wait for room, but no longer than that.
        self._thread.join(linger_s + _ROOM_S + _TICK_S)
        self._sender.close(max(0.0, (deadline_ns - now_ns()) * 1e-9))

    def _buffer(self, like: Frame) -> Frame:
        """Return memory for a copy: used before where possible, as fresh pages cost more."""
        with self._changed:
            while self._free:
                buffer = self._free.pop()
                if buffer.shape == like.shape and buffer.dtype == like.dtype:
                    return buffer
        fresh: Frame = np.empty(like.shape, like.dtype)
        return fresh

    def _room(self, pixels: Frame) -> int:
        return min(_MOST_WAITING, max(2, self._buffer_bytes // max(1, pixels.nbytes)))

    def _drop(self, offer: Offer, reason: str) -> None:
        self._dropped[reason] += 1
        self._keep_buffer(offer)

    def _keep_buffer(self, offer: Offer) -> None:
        if offer.is_ours and len(self._free) < _KEPT_BUFFERS:
            self._free.append(offer.pixels)

    def _work(self) -> None:
        while True:
            offer = self._next()
            if offer is None:
                if self._deadline_ns is not None:
                    return
                self._look()
                continue
            self._send_or_count(offer)
            with self._changed:
                self._in_hand = False
                self._keep_buffer(offer)
                self._changed.notify_all()

    def _next(self) -> Offer | None:
        """Return the oldest image that waits; None when there is none, or no time left."""
        with self._changed:
            if not self._waiting and self._deadline_ns is None:
                self._changed.wait(_TICK_S)
            if self._deadline_ns is not None and now_ns() >= self._deadline_ns:
                while self._waiting:
                    self._drop(self._waiting.popleft(), "closed")
            if not self._waiting:
                return None
            self._in_hand = True
            return self._waiting.popleft()

    def _look(self) -> bool:
        """Serve the connection; return whether the daemon takes images now."""
        ready = self._sender.wait_ready(0.0)
        if ready and not self._was_ready.is_set():
            self._was_ready.set()
            Words.note(f"images go to the daemon at {self.endpoint}")
        if not ready and self._was_ready.is_set():
            self._warn(
                f"lost {self.endpoint}",
                f"the daemon at {self.endpoint} is gone: images pass, and go to it again when it "
                "comes back",
            )
        return ready

    def _send_or_count(self, offer: Offer) -> None:
        try:
            self._send(offer)
        except BusError as error:
            self._count_fault("facts", f"an image was not sent: {error}")
        except Exception as error:  # noqa: BLE001  (the user's functions of axes may raise anything)
            self._count_fault("error", f"an image was not sent: {error!r}", trace=True)

    def _send(self, offer: Offer) -> None:
        facts, placing = offer.describe(), offer.placing
        self._ready = self._ready or self._look()
        self._ready = self._sender.send(
            offer.pixels,
            # Without a connection nothing is waited for: the next image is due.
            timeout_s=_ROOM_S if self._ready else 0.0,
            exposure_us=facts.exposure_us,
            t_camera_ns=offer.stamp_ns,
            camera_seq=offer.number,
            roi_x=placing.roi_x,
            roi_y=placing.roi_y,
            binning=placing.binning,
            channel=facts.channel,
            event=facts.event,
            role=facts.role,
        )
        if problem := self._sender.problem:
            self._warn(f"problem {problem}", f"{self.endpoint} refuses images: {problem}")

    def _count_fault(self, reason: str, text: str, *, trace: bool = False) -> None:
        with self._changed:
            self._dropped[reason] += 1
        self._warn(f"{reason} {self.endpoint}", text, trace=trace)

    def _warn(self, key: str, text: str, *, trace: bool = False) -> None:
        """Tell every user; the log has it once."""
        logged = False
        for words in self._users:
            logged = words.warn(key, text, trace=trace, aloud=not logged) or logged


def _copy(source: Frame, target: Frame) -> None:
    """Copy pixels into memory of the same shape and type."""
    if source.nbytes <= _HELD_BYTES and source.flags.c_contiguous:
        target.data.cast("B")[:] = source.data.cast("B")
    else:
        np.copyto(target, source)
