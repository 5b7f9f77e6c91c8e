"""The rings of one camera's line, over all the processes that wrote them.

Knows: which ring is in use, which ones of killed camera processes still hold frames for a recorder,
and what all of them counted. Must not know: stages, orders, endpoints.
"""

from __future__ import annotations

import msgspec

from livedenoise.bus.rescue import frames_left
from livedenoise.bus.ring import LEAST_SLOTS, NO_TOTALS, Ring, RingSpec, RingTotals
from livedenoise.core.errors import BusError

RAW, CLEAN = "raw", "clean"


class LineRings:
    """Creates rings, keeps what is needed of old ones, removes the rest.

    Attributes
    ----------
    made : int
        Rings made so far; also the epoch of the newest.
    left : list of Ring
        Raw rings of killed camera processes, until the recorder has read them.
    shrunk : int
        Slots of the last ring that had to be smaller than wanted; 0 for none.
    """

    def __init__(self) -> None:
        self.made = 0
        self.left: list[Ring] = []
        self.shrunk = 0
        self._rings: dict[str, Ring] = {}
        self._past = NO_TOTALS
        self._past_clean_seq = -1

    def spec(self, stream: str) -> RingSpec | None:
        """Return the ring in use of a stream, None before there is one."""
        ring = self._rings.get(stream)
        return None if ring is None else ring.spec

    def new(self, stream: str, spec: RingSpec) -> RingSpec:
        """Make a stream's next ring; the one before lives on in whoever still reads it.

        Raises
        ------
        BusError
            If it does not fit; that of a successor is made smaller first.
        """
        again = stream in self._rings
        self._retire(stream)
        self.made += 1
        spec = msgspec.structs.replace(spec, ring_epoch=self.made)
        self._rings[stream] = self._create_smaller(spec) if again else Ring.create(spec)
        return self._rings[stream].spec

    def raw_totals(self) -> RingTotals:
        """Return what the camera's processes did in all, exact also for killed ones."""
        ring = self._rings.get(RAW)
        return self._past if ring is None else both(self._past, ring.totals())

    def clean_published(self) -> int:
        """Return how many clean frames the ring in use was given by a denoiser that is dead."""
        ring = self._rings.get(CLEAN)
        return 0 if ring is None else last_totals(ring).published

    def clean_last_seq(self) -> int:
        """Return the last number dead denoisers published; -1 for none."""
        ring = self._rings.get(CLEAN)
        last_seq = -1 if ring is None else last_totals(ring).last_seq
        return max(self._past_clean_seq, last_seq)

    def drop_left(self) -> None:
        """Remove the rings that were kept for the recorder."""
        for ring in self.left:
            ring.close()
        self.left.clear()

    def close(self) -> None:
        """Remove every ring. Idempotent; the totals stay readable."""
        for stream in list(self._rings):
            self._retire(stream)
        self.drop_left()

    def _create_smaller(self, spec: RingSpec) -> Ring:
        """Create a ring; while the old one still takes the room, with fewer slots."""
        self.shrunk = 0
        while True:
            try:
                return Ring.create(spec)
            except BusError:
                if spec.n_slots // 2 < LEAST_SLOTS:
                    raise
            spec = msgspec.structs.replace(spec, n_slots=spec.n_slots // 2)
            self.shrunk = spec.n_slots

    def _retire(self, stream: str) -> None:
        old = self._rings.pop(stream, None)
        if old is None:
            return
        if stream == RAW:
            self._past = both(self._past, last_totals(old))
            self.left.append(old)
        else:
            self._past_clean_seq = max(self._past_clean_seq, last_totals(old).last_seq)
            old.close()


def last_totals(ring: Ring) -> RingTotals:
    """Return the totals of a ring whose writer is gone, exact also when it was killed.

    A frame is readable a moment before it is counted: one that a kill left between the two is
    found by its readers, so it is counted here.
    """
    totals = ring.totals()
    late = frames_left(ring, totals.last_seq)
    if not late:
        return totals
    return msgspec.structs.replace(
        totals,
        captured=totals.captured + len(late),
        published=totals.published + len(late),
        last_seq=late[-1].seq,
        last_host_ns=late[-1].t_host_ns,
    )


def both(one: RingTotals, other: RingTotals) -> RingTotals:
    """Return the totals of two writers, one after the other."""
    return RingTotals(
        captured=one.captured + other.captured,
        published=one.published + other.published,
        dropped_full=one.dropped_full + other.dropped_full,
        lost_at_camera=one.lost_at_camera + other.lost_at_camera,
        last_seq=max(one.last_seq, other.last_seq),
        last_host_ns=max(one.last_host_ns, other.last_host_ns),
    )
