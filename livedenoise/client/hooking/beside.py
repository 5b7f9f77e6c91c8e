"""Denoised images for the user's own data set: received, matched to their raw images, handed on.

A thread listens to the frames the daemon shares. A denoised frame carries the time its raw image
was stamped with, which no other image of this process has: that is how the two are matched. Nothing
waits here for a denoised image; what comes too late, or not at all, is counted.

Knows: subscribers, axes, metadata. Must not know: how a data set takes an image.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.client.hooking.words import Words
from livedenoise.client.subscriber import FrameSubscriber
from livedenoise.core.clock import now_ns
from livedenoise.core.frame import Frame, FrameFlags, FrameHeader

DENOISED_AXIS = "denoised"
PROVENANCE = "livedenoise"
_MOST_EXPECTED = 512
_MOST_READY = 16
_SILENCE_S = 0.5


class Expected(msgspec.Struct):
    """A raw image that was handed over: its axes, a copy of its metadata, where it belongs."""

    axes: dict[str, Any]
    metadata: dict[str, Any]
    shape: tuple[int, int]
    dtype: str
    target: object = None


class Beside:
    """Collects the denoised images of one endpoint.

    Parameters
    ----------
    endpoint : str
        Where the daemon shares frames: ``[share]`` ``host`` and ``port`` + 1.
    keys : Path or None
        Client's folder of CURVE keys.
    words : Words
        Where the user is told.

    Attributes
    ----------
    reason : str
        Why denoised images cannot be put into this data set; "" while they can.

    Raises
    ------
    BusError
        If the endpoint is not one.
    ConfigError
        If the keys cannot be used.
    """

    def __init__(self, endpoint: str, *, keys: Path | None, words: Words) -> None:
        self._endpoint, self._words = endpoint, words
        self._frames = FrameSubscriber(endpoint, keys=keys, stream="clean", max_backlog=8)
        self.reason = ""
        self._lock = threading.Lock()
        self._expected: dict[int, Expected] = {}
        self._ready: deque[tuple[Expected, Frame, FrameHeader]] = deque()
        self._counts: Counter[str] = Counter()
        self._came = threading.Event()
        self._thread = threading.Thread(
            target=self._listen, name=f"hook {endpoint} denoised", daemon=True
        )
        self._thread.start()

    def expect(self, stamp_ns: int, expected: Expected) -> None:
        """Remember a raw image until its denoised one comes, or 512 others were handed over."""
        with self._lock:
            self._expected[stamp_ns] = expected
            self._counts["expected"] += 1
            if len(self._expected) > _MOST_EXPECTED:
                del self._expected[next(iter(self._expected))]
                self._counts["never_came"] += 1

    def take(self, most: int | None) -> list[tuple[Expected, Frame, FrameHeader]]:
        """Return the oldest of the denoised images that have come (None: all), without waiting."""
        with self._lock:
            count = len(self._ready) if most is None else min(most, len(self._ready))
            return [self._ready.popleft() for _ in range(count)]

    def put_back(self, item: tuple[Expected, Frame, FrameHeader]) -> None:
        """Return an image that could not be delivered yet."""
        with self._lock:
            self._ready.appendleft(item)

    def delivered(self) -> None:
        """Count an image that is in the user's data set."""
        with self._lock:
            self._counts["delivered"] += 1

    def cannot(self, reason: str) -> None:
        """Say plainly, once, that raw images are all there will be."""
        self.reason = reason
        self._words.warn("beside", f'denoised="beside" cannot be done here: {reason}')
        self._frames.stop()
        with self._lock:
            self._counts["not_possible"] += len(self._expected) + len(self._ready)
            self._expected.clear()
            self._ready.clear()

    def wait(self, timeout_s: float) -> None:
        """Wait until all that is expected has come: ``timeout_s`` at most, or 0.5 s of silence."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while self._expected and (left_ns := deadline_ns - now_ns()) > 0:
            self._came.clear()
            if not self._came.wait(min(left_ns * 1e-9, _SILENCE_S)):
                return

    def counts(self) -> dict[str, int]:
        """Return ``expected``, ``delivered`` and what became of the rest.

        ``expected == delivered + waiting + under_way + never_came + passthrough + overtaken +
        other_format + not_possible``.
        """
        with self._lock:
            found = {"waiting": len(self._ready), "under_way": len(self._expected)}
            return {"expected": 0, "delivered": 0} | dict(self._counts) | found

    def close(self) -> None:
        """Stop listening; say what is missing. Idempotent."""
        self._frames.stop()
        self._thread.join(1.0)
        counts = self.counts()
        missing = counts["expected"] - counts["delivered"]
        if missing and not self.reason:
            self._words.warn("beside end", _missing_text(self._endpoint, counts, missing))

    def _listen(self) -> None:
        try:
            for header, pixels in self._frames:
                self._match(header, pixels)
        finally:
            self._frames.close()

    def _match(self, header: FrameHeader, pixels: Frame) -> None:
        with self._lock:
            expected = self._expected.pop(header.t_camera_ns, None)
            if expected is None:
                return  # of another program, or of an image that was given up
            if header.has(FrameFlags.PASSTHROUGH):
                # Raw pixels: the denoiser was not ready. They are in the data set already.
                self._counts["passthrough"] += 1
            elif header.shape != expected.shape or header.dtype != expected.dtype:
                self._counts["other_format"] += 1
            else:
                # What comes from the network is read-only; images of a data set are not.
                self._ready.append((expected, pixels.copy(), header))
                if len(self._ready) > _MOST_READY:
                    self._ready.popleft()
                    self._counts["overtaken"] += 1
        self._came.set()


def denoised_axes(axes: dict[str, Any]) -> dict[str, Any]:
    """Return where the denoised image goes: a channel beside a named channel, else an own axis."""
    channel = axes.get("channel")
    if isinstance(channel, str):
        return axes | {"channel": f"{channel} denoised"}
    return axes | {DENOISED_AXIS: 1}


def denoised_metadata(expected: Expected, header: FrameHeader) -> dict[str, Any]:
    """Return the raw image's metadata with the denoised image's axes, and what it was made by."""
    provenance = {
        "denoised": True,
        "model": header.model,
        "calibration": header.calibration,
        "run_id": header.run_id,
        "camera": header.camera,
        "seq": header.seq,
        "exposure_us": header.exposure_us,
        "clipped": header.has(FrameFlags.CLIPPED),
    }
    axes = denoised_axes(expected.axes)
    changed: dict[str, Any] = {"Axes": axes, PROVENANCE: provenance}
    if isinstance(channel := axes.get("channel"), str):
        changed["Channel"] = channel
    return expected.metadata | changed


def _missing_text(endpoint: str, counts: dict[str, int], missing: int) -> str:
    why = {name: n for name, n in counts.items() if n and name not in ("expected", "delivered")}
    text = f"{missing} of {counts['expected']} denoised images are not in the data set: {why}"
    if counts["delivered"] or counts["waiting"]:
        return text + " (all of them are in the daemon's recording where [record] clean is on)"
    return text + f"; does the daemon share frames at {endpoint} ([share] enabled = true)?"
