"""What a sidecar adds up to: frames, bytes, gaps by reason, the frames in each part. Pure.

Knows: how lines are counted, one after the other. Must not know: files, pixels, who counts. The
recorder counts the lines it writes, ``survey`` those it reads: an index that is rebuilt is by
construction the one that would have been written.

Example
-------
>>> tally = Tally()
>>> tally.take(GapLine(first=0, last=4, count=5, reason="ring_full"))
>>> tally.next_seq, dict(tally.missing)
(5, {'ring_full': 5})
"""

from __future__ import annotations

from collections import Counter

import msgspec

from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import SUPPORTED_DTYPES, frame_nbytes
from livedenoise.record.sidecar import EpochLine, FrameLine, GapLine, Line, StreamLine


class PartTally(msgspec.Struct, kw_only=True):
    """The frames of one part, all of the format ``epoch``; offsets and numbers -1 for none."""

    number: int
    epoch: EpochLine
    nbytes: int
    pages: int = 0
    first_seq: int = -1
    last_seq: int = -1
    last_offset: int = -1


class Tally:
    """Totals of the lines taken so far.

    Attributes
    ----------
    frames, bytes : int
        Frames and the bytes of their pixels.
    gaps : int
        Gap lines; ``missing`` counts the frames in them by reason.
    out_of_order : int
        Frames whose number had been passed already.
    next_seq : int
        The number after the last one that is a frame or in a gap.
    resumed, torn_bytes : int
        Successors that went on with the recording, and bytes of half lines they cut off.
    first_ns, last_ns : int
        ``t_host_ns`` of the first and the last frame that has one, 0 for none.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.gaps = 0
        self.missing: Counter[str] = Counter()
        self.out_of_order = 0
        self.next_seq = 0
        self.resumed = 0
        self.torn_bytes = 0
        self.rebuilt = False
        self.first_ns = 0
        self.last_ns = 0
        self.stream: StreamLine | None = None
        self.epoch: EpochLine | None = None
        self.parts: dict[int, PartTally] = {}

    def take(self, line: Line) -> None:
        """Count one line.

        Raises
        ------
        ConfigError
            If it is a frame of no known format.
        """
        match line:
            case StreamLine():
                self._take_stream(line)
            case EpochLine():
                if line.dtype not in SUPPORTED_DTYPES:
                    raise ConfigError(f"epoch {line.epoch} of unknown dtype {line.dtype!r}")
                self.epoch = line
            case FrameLine():
                self._take_frame(line)
            case GapLine():
                self.gaps += 1
                self.missing[line.reason] += line.count
                self.next_seq = max(self.next_seq, line.last + 1)

    def part_of(self, line: FrameLine) -> PartTally:
        """Return the part of a frame, begun when it is new.

        Raises
        ------
        ConfigError
            If its format is not known: no epoch line came before it.
        """
        part = self.parts.get(line.part)
        if part is None:
            if self.epoch is None or self.epoch.epoch != line.epoch:
                raise ConfigError(
                    f"frame {line.seq}: no line says the format of epoch {line.epoch}"
                )
            shape = (self.epoch.height, self.epoch.width)
            nbytes = frame_nbytes(shape, self.epoch.dtype)
            part = PartTally(number=line.part, epoch=self.epoch, nbytes=nbytes)
            self.parts[line.part] = part
        return part

    def _take_stream(self, line: StreamLine) -> None:
        if line.resumed:
            self.resumed += 1
            self.torn_bytes += line.torn_bytes
        self.stream = self.stream or line
        self.rebuilt = self.rebuilt or line.rebuilt

    def _take_frame(self, line: FrameLine) -> None:
        part = self.part_of(line)
        if not part.pages:
            part.first_seq = line.seq
        part.pages += 1
        part.last_seq, part.last_offset = line.seq, line.offset
        self.frames += 1
        self.bytes += part.nbytes
        self.first_ns = self.first_ns or line.t_host_ns
        self.last_ns = line.t_host_ns or self.last_ns
        if line.seq < self.next_seq:
            self.out_of_order += 1
        else:
            self.next_seq = line.seq + 1
