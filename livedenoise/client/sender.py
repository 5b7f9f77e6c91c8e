"""Send frames from any program, on this machine or another, to a camera of kind "network".

Knows: arrays and their facts, how long the caller may be held up. Must not know: what becomes of
the frames. Imports numpy, pyzmq and msgspec, nothing heavier.

Example
-------
>>> with FrameSender("tcp://127.0.0.1:5570") as sender:       # doctest: +SKIP
...     sender.wait_ready(10.0)
...     for pixels in my_camera:
...         sender.send(pixels, exposure_us=5000)
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from livedenoise.bus.frames_wire import RefusedError, SentFrame, decode, encode
from livedenoise.bus.outlet import FrameOutlet
from livedenoise.core.clock import now_ns
from livedenoise.core.closing import Closing
from livedenoise.core.errors import BusError
from livedenoise.core.frame import Frame

_SLICE_MS = 20
_DTYPES = ("|u1", "<u2")


class SenderCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every frame given to ``send``.

    ``offered == taken + refused + dropped + in_flight`` (the sums of the two by reason).

    Attributes
    ----------
    offered : int
        Calls of ``send``.
    taken : int
        Frames the daemon has: in its raw ring, or counted there as lost.
    in_flight : int
        On their way: sent, not answered yet.
    refused : dict
        Frames the daemon refused, by its reason (``too_large``, ``dtype`` ...).
    dropped : dict
        Frames not sent, by reason: ``not_connected``, ``refused`` (the daemon does not take this
        sender), ``queue_full``, ``busy`` (another thread was sending), ``disconnected`` (sent,
        and the connection ended before an answer).
    """

    offered: int
    taken: int
    in_flight: int
    refused: dict[str, int]
    dropped: dict[str, int]


class FrameSender(Closing):
    """Sends frames; never holds its caller up longer than it was allowed to.

    The connection is made in the background, and made again when it breaks or the daemon is
    restarted. One sender at a time is taken by a network camera.

    Thread-safe: calls from several threads take turns, within the time they allow. Do not use it
    in a child process after a fork: make one there.

    Parameters
    ----------
    endpoint : str
        ``tcp://ADDRESS:PORT``, the camera's key ``listen``.
    keys : Path or str, optional
        This client's folder of CURVE keys (``livedenoise keys``); for another machine.
    max_queue : int
        Frames that may be on their way: the most that wait here when the other end is slow.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """

    def __init__(
        self, endpoint: str, *, keys: Path | str | None = None, max_queue: int = 8
    ) -> None:
        if not 1 <= max_queue <= 1024:
            raise BusError(f"max_queue is {max_queue}, it can be 1 to 1024", "leave the default")
        folder = None if keys is None else Path(keys)
        self._outlet = FrameOutlet(endpoint, keys=folder, max_queue=max_queue)
        self._lock = threading.Lock()
        # Guards two counters only, never held while anything waits.
        self._count_lock = threading.Lock()
        self._offered = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False

    @property
    def problem(self) -> str:
        """Return the last reason the other end gave for refusing, empty when there is none."""
        return self._outlet.problem

    def send(
        self,
        pixels: Frame,
        *,
        exposure_us: int = 0,
        t_camera_ns: int = 0,
        camera_seq: int | None = None,
        timeout_s: float = 0.0,
        roi_x: int = 0,
        roi_y: int = 0,
        binning: int = 1,
        channel: int = 0,
        event: int = -1,
        role: str = "",
    ) -> bool:
        """Send a frame; return whether it is on its way. A frame that is not is counted.

        The pixels are copied once (twice when they are not C-contiguous) before this returns, so
        the array may be used again at once.

        Parameters
        ----------
        pixels : ndarray
            (Y, X) counts, uint8 or uint16.
        exposure_us : int
            Commanded exposure; 0 takes the daemon's configuration.
        t_camera_ns : int
            Time by this machine's or the camera's clock, kept apart from the daemon's.
        camera_seq : int, optional
            The camera's own frame number, so that frames lost before this call are counted.
            Default: frames are numbered as they are given.
        timeout_s : float
            Longest time to wait for a connection, for room in the queue and for other threads
            together. 0 never waits.
        roi_x, roi_y : int
            Corner of the region on the sensor, sensor pixels.
        binning, channel, event, role
            As in ``FrameHeader``.

        Raises
        ------
        BusError
            If the sender is closed, or what is given is not a frame (type, shape, numbers).
        """
        height, width = _edges(pixels)
        facts = SentFrame(
            session=self._outlet.session,
            number=0,
            camera_seq=0 if camera_seq is None else int(camera_seq),
            height=height,
            width=width,
            dtype=pixels.dtype.str,
            t_camera_ns=int(t_camera_ns),
            exposure_us=int(exposure_us),
            roi_x=int(roi_x),
            roi_y=int(roi_y),
            binning=int(binning),
            channel=int(channel),
            event=int(event),
            role=role,
        )
        _check(facts)
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        if not self._lock.acquire(timeout=max(0.0, timeout_s)):
            self._next_number()
            return self._drop("busy")
        try:
            self._check_open()
            number = self._next_number()
            obstacle = self._wait_for_room(deadline_ns)
            if obstacle:
                return self._drop(obstacle)
            camera_seq = number if camera_seq is None else facts.camera_seq
            facts = msgspec.structs.replace(facts, number=number, camera_seq=camera_seq)
            whole = pixels if pixels.flags.c_contiguous else pixels.copy()
            sent = self._outlet.send(facts, whole)
            return sent or self._drop("not_connected")
        finally:
            self._lock.release()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the daemon takes frames; return whether it does.

        Raises
        ------
        BusError
            If the sender is closed.
        """
        return self._wait(lambda: self._outlet.welcome is not None, timeout_s)

    def flush(self, timeout_s: float) -> bool:
        """Wait until no frame is on its way; return whether that came true.

        Raises
        ------
        BusError
            If the sender is closed.
        """
        return self._wait(lambda: not self._outlet.in_flight, timeout_s)

    def counts(self) -> SenderCounts:
        """Return what became of every frame so far."""
        with self._lock:
            if not self._closed:
                self._outlet.service(0)
            outlet = self._outlet
            dropped = dict(self._dropped)
            if outlet.lost:
                dropped["disconnected"] = outlet.lost
            return SenderCounts(
                offered=self._offered,
                taken=outlet.taken,
                in_flight=outlet.in_flight,
                refused=dict(outlet.refused),
                dropped=dropped,
            )

    def close(self, linger_s: float = 1.0) -> None:
        """Give frames on their way ``linger_s`` to arrive, say goodbye and close. Idempotent."""
        deadline_ns = now_ns() + int(linger_s * 1e9)
        with self._lock:
            if self._closed:
                return
            self._closed = True
            outlet = self._outlet
            while outlet.in_flight and (left_ms := _left_ms(deadline_ns)):
                outlet.service(left_ms)
            outlet.close(_left_ms(deadline_ns, most_ms=1 << 30))

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while True:
            # Let go of between the slices, so that a thread that sends is not kept waiting.
            with self._lock:
                self._check_open()
                self._outlet.service(_left_ms(deadline_ns))
                if condition():
                    return True
            if now_ns() >= deadline_ns:
                return False

    def _wait_for_room(self, deadline_ns: int) -> str:
        """Return why there is no room when the time is over, "" as soon as there is."""
        self._outlet.service(0)
        while obstacle := self._outlet.obstacle():
            left_ms = _left_ms(deadline_ns)
            if not left_ms:
                return obstacle
            self._outlet.service(left_ms)
        return ""

    def _next_number(self) -> int:
        with self._count_lock:
            self._offered += 1
            return self._offered - 1

    def _drop(self, reason: str) -> bool:
        with self._count_lock:
            self._dropped[reason] += 1
        return False

    def _check_open(self) -> None:
        if self._closed:
            raise BusError("the sender is closed", "make a new one")


def _left_ms(deadline_ns: int, most_ms: int = _SLICE_MS) -> int:
    """Return the whole milliseconds to a deadline, rounded up, at most ``most_ms``."""
    return min(most_ms, max(0, -(-(deadline_ns - now_ns()) // 1_000_000)))


def _edges(pixels: Frame) -> tuple[int, int]:
    shape, dtype = np.shape(pixels), getattr(pixels, "dtype", None)
    if len(shape) != 2 or dtype is None or dtype.str not in _DTYPES:
        raise BusError(
            f"a frame is a (Y, X) array of uint8 or uint16, got shape {shape} and type {dtype}",
            "convert it before",
        )
    return shape[0], shape[1]


def _check(facts: SentFrame) -> None:
    """Refuse here, by the rules of the wire, what the other end would not understand."""
    try:
        decode(encode(facts))
    except RefusedError as error:
        raise BusError(f"not the facts of a frame: {error.message}", "mend the arguments") from None
