"""Frames that a killed writer left in its ring and perhaps told nobody of.

Knows: what a slot's generation and the message beside it say. Must not know: who was owed what.
"""

from __future__ import annotations

from livedenoise.bus import wire
from livedenoise.bus.ring import Ring
from livedenoise.core.errors import WireError
from livedenoise.core.frame import FrameHeader


def frames_left(ring: Ring, after_seq: int) -> list[FrameHeader]:
    """Return the headers of the whole frames in a ring with a higher number, in order.

    Only for a ring whose writer is gone: nothing may be written meanwhile. A slot that was being
    written has an odd generation and is not among them.
    """
    found = [_header_in(ring, slot) for slot in range(ring.spec.n_slots)]
    left = [header for header in found if header is not None and header.seq > after_seq]
    return sorted(left, key=lambda header: header.seq)


def _header_in(ring: Ring, slot: int) -> FrameHeader | None:
    news = ring.news(slot)
    if not news:
        return None
    try:
        header = wire.expect(wire.decode(news), wire.Published).header
    except WireError:
        # Torn by the kill: then the generation was not set either.
        return None
    whole = header.slot == slot and ring.holds(header)
    return header if whole and ring.is_current(slot, header.generation) else None
