"""Taking samples from the two streams: four successive raw frames and the first one denoised.

Both streams are read LATEST, so nobody waits for this reader and it may miss frames. Raw and clean
frames come apart in time and with gaps; they are joined by their numbers, whichever stream is
behind being read on. Only small parts of a frame are copied out of the ring, and a copy counts only
if the frame was still whole after it.

Knows: readers, regions. Must not know: figures, when a sample is due, who asks.
"""

from __future__ import annotations

from collections import Counter, deque

import msgspec

from livedenoise.bus.reader import FrameReader, Received
from livedenoise.core.frame import Frame, FrameFlags, FrameHeader
from livedenoise.quality.motion import BURST_FRAMES
from livedenoise.quality.region import centre_region, sample_region
from livedenoise.quality.sample import Burst


class Piece(msgspec.Struct, frozen=True):
    """Copies of two parts of a frame: the block that is measured and the crop that is shown."""

    header: FrameHeader
    block: Frame
    crop: Frame


class Taken(msgspec.Struct, frozen=True):
    """A burst to measure, and the crops of its first frame, ``clean`` None when not denoised."""

    header: FrameHeader
    burst: Burst
    raw: Frame
    clean: Frame | None


class BurstTaker:
    """Collects one burst at a time.

    Parameters
    ----------
    preview_px : int
        Longer edge of the crop that is shown.
    patience_ns : int
        How long the denoised frame is waited for once the raw ones are there. A clean stream that
        let a whole wait pass is not waited for again until something comes from it.

    Attributes
    ----------
    counts : Counter
        ``torn``: copies thrown away because the frame was overwritten meanwhile; ``unmatched``:
        bursts whose first frame never came denoised.
    """

    def __init__(self, *, preview_px: int, patience_ns: int) -> None:
        self._preview_px = preview_px
        self._patience_ns = patience_ns
        self._index = 0
        self._raw: deque[Piece] = deque()
        self._clean: Piece | None = None
        self._waiting_since_ns: int | None = None
        self._silent = False
        self.counts: Counter[str] = Counter(torn=0, unmatched=0)

    def reset(self) -> None:
        """Begin a new burst: a stream was replaced."""
        self._raw.clear()
        self._clean = None
        self._waiting_since_ns = None
        self._silent = False

    def take(
        self, raw: FrameReader, clean: FrameReader | None, now_ns: int, timeout_s: float
    ) -> Taken | None:
        """Read on, waiting at most ``timeout_s`` once; return the burst when it is complete."""
        if clean is not None:
            self._advance_clean(clean)
        self._advance_raw(raw, timeout_s)
        self._join()
        if len(self._raw) < BURST_FRAMES:
            return None
        if clean is None or self._clean_is_there():
            return self._complete()
        if self._out_of_patience(now_ns):
            self.counts["unmatched"] += 1
            self._silent = True
            return self._complete()
        self._await_clean(clean, timeout_s)
        self._join()
        there = len(self._raw) == BURST_FRAMES and self._clean_is_there()
        return self._complete() if there else None

    def _advance_raw(self, reader: FrameReader, timeout_s: float) -> None:
        """Read raw frames until there are four in a row or none waits; wait for one at most."""
        while len(self._raw) < BURST_FRAMES:
            frame = reader.read(timeout_s)
            if frame is None:
                return
            timeout_s = 0.0
            if not isinstance(frame, Received):
                continue
            piece = self._copy(reader, frame)
            if piece is None or (self._raw and not _follows(piece.header, self._raw[-1].header)):
                self._raw.clear()
                self._waiting_since_ns = None
            if piece is not None:
                self._raw.append(piece)

    def _advance_clean(self, reader: FrameReader) -> None:
        """Read clean frames that wait, up to the first that is not behind the raw ones."""
        while self._clean is None or self._is_behind(self._clean.header):
            if not self._read_clean(reader, 0.0):
                return

    def _await_clean(self, reader: FrameReader, timeout_s: float) -> None:
        if self._read_clean(reader, timeout_s):
            self._advance_clean(reader)

    def _read_clean(self, reader: FrameReader, timeout_s: float) -> bool:
        """Take the next clean frame, if any came."""
        frame = reader.read(timeout_s)
        if frame is None:
            return False
        self._silent = False
        if isinstance(frame, Received):
            self._clean = self._copy(reader, frame)
        return True

    def _is_behind(self, header: FrameHeader) -> bool:
        return bool(self._raw) and header.seq < self._raw[0].header.seq

    def _join(self) -> None:
        """Drop raw frames that were never denoised: the clean stream is past them."""
        while self._clean and self._raw and self._raw[0].header.seq < self._clean.header.seq:
            self._raw.popleft()
            self._waiting_since_ns = None

    def _clean_is_there(self) -> bool:
        first = self._raw[0].header
        clean = self._clean
        return clean is not None and (clean.header.seq, clean.header.epoch, clean.header.shape) == (
            first.seq,
            first.epoch,
            first.shape,
        )

    def _out_of_patience(self, now_ns: int) -> bool:
        if self._waiting_since_ns is None:
            self._waiting_since_ns = now_ns
        return self._silent or now_ns - self._waiting_since_ns > self._patience_ns

    def _complete(self) -> Taken:
        first = self._raw[0]
        clean = self._clean if self._clean_is_there() else None
        if clean is not None and not clean.header.has(FrameFlags.DENOISED):
            # Raw pixels under the number of a clean frame: the denoiser did nothing to them.
            clean = None
        burst = Burst(
            raw=[piece.block for piece in self._raw],
            denoised=None if clean is None else clean.block,
            epoch=first.header.epoch,
            bit_depth=first.header.bit_depth,
        )
        self._raw.clear()
        self._clean = None
        self._waiting_since_ns = None
        self._index += 1
        return Taken(first.header, burst, first.crop, None if clean is None else clean.crop)

    def _copy(self, reader: FrameReader, frame: Received) -> Piece | None:
        """Copy the parts of a frame and give it back; None if it was overwritten meanwhile."""
        shape = frame.header.shape
        block: Frame = frame.pixels[sample_region(self._index, shape)].copy()
        crop: Frame = frame.pixels[centre_region(shape, self._preview_px)].copy()
        if reader.release(frame):
            return Piece(frame.header, block, crop)
        self.counts["torn"] += 1
        return None


def _follows(header: FrameHeader, before: FrameHeader) -> bool:
    return (header.seq, header.epoch, header.shape, header.dtype) == (
        before.seq + 1,
        before.epoch,
        before.shape,
        before.dtype,
    )


def discard_waiting(reader: FrameReader) -> None:
    """Take and give back every frame that waits, so that the next one read is a new one."""
    while (frame := reader.read(0.0)) is not None:
        if isinstance(frame, Received):
            reader.release(frame)
