"""Rings of a line over replaced writers: exact totals, nothing removed too early, nothing kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq
from stream_kit import FOR_EVER_NS, SHAPE, make_header, make_spec

from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.ring import Ring, RingSpec, RingTotals
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.errors import BusError
from livedenoise.daemon.rings import CLEAN, RAW, LineRings


@pytest.fixture
def rings() -> Iterator[LineRings]:
    """Give the rings of one line."""
    rings = LineRings()
    yield rings
    rings.close()


def write(spec: RingSpec, published: int, last_seq: int) -> None:
    ring = Ring.attach(spec)
    ring.set_totals(
        RingTotals(
            captured=published + 1,
            published=published,
            dropped_full=1,
            lost_at_camera=2,
            last_seq=last_seq,
            last_host_ns=last_seq,
        )
    )
    ring.close()


def publish(writer: FrameWriter, spec: RingSpec, *seqs: int) -> None:
    for seq in seqs:
        slot = writer.begin(SHAPE, "<u2", 0.0)
        assert slot is not None
        grant = slot[0]
        facts = {"slot": grant.slot, "generation": grant.generation, "ring_epoch": spec.ring_epoch}
        writer.publish(grant, make_header(seq, **facts))


def exists(spec: RingSpec) -> bool:
    try:
        Ring.attach(spec).close()
    except BusError:
        return False
    return True


def test_totals_add_up_over_writers_and_outlive_the_rings(rings: LineRings) -> None:
    write(rings.new(RAW, make_spec()), 10, 12)
    write(rings.new(RAW, make_spec()), 5, 20)
    rings.close()
    totals = rings.raw_totals()
    assert (totals.captured, totals.published, totals.dropped_full) == (17, 15, 2)
    assert (totals.lost_at_camera, totals.last_seq) == (4, 20)


def test_a_raw_ring_stays_until_the_recorder_has_it_and_a_clean_one_goes(rings: LineRings) -> None:
    raw, clean = rings.new(RAW, make_spec()), rings.new(CLEAN, make_spec())
    write(clean, 7, 7)
    assert rings.clean_published() == 7
    rings.new(RAW, make_spec())
    rings.new(CLEAN, make_spec())
    assert rings.clean_published() == 0
    assert exists(raw)
    assert not exists(clean)
    rings.drop_left()
    assert not exists(raw)
    assert rings.spec(RAW) is not None


def test_a_frame_its_killed_writer_had_not_counted_yet_is_counted(rings: LineRings) -> None:
    for stream in (RAW, CLEAN):
        spec = rings.new(stream, make_spec())
        with Endpoints() as endpoints, zmq.Context() as context:
            ring, endpoint = Ring.attach(spec), endpoints.bind_to(stream)
            writer = FrameWriter(ring, context, endpoint, lease_timeout_ns=FOR_EVER_NS)
            publish(writer, spec, 0, 1)
            writer._leave_totals = lambda: None
            publish(writer, spec, 2)
            writer.close()
            ring.close()
    assert (rings.clean_published(), rings.clean_last_seq()) == (3, 2)
    rings.close()
    totals = rings.raw_totals()
    assert (totals.captured, totals.published, totals.last_seq) == (3, 3, 2)
    assert rings.clean_last_seq() == 2


def test_the_last_clean_number_outlives_its_ring(rings: LineRings) -> None:
    assert rings.clean_last_seq() == -1
    write(rings.new(CLEAN, make_spec()), 7, 9)
    assert rings.clean_last_seq() == 9
    rings.new(CLEAN, make_spec())
    assert rings.clean_last_seq() == 9
    rings.new(CLEAN, make_spec())
    assert rings.clean_last_seq() == 9


def test_epochs_differ(rings: LineRings) -> None:
    specs = [rings.new(stream, make_spec()) for stream in (RAW, CLEAN, RAW, CLEAN)]
    assert len({spec.ring_epoch for spec in specs}) == 4


def test_a_successors_ring_is_made_smaller_where_memory_is_short(
    rings: LineRings, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Ring.create

    def short(spec: RingSpec) -> Ring:
        if spec.n_slots > 10:
            raise BusError("no room")
        return create(spec)

    first = make_spec(n_slots=32)
    rings.new(RAW, first)
    monkeypatch.setattr(Ring, "create", short)
    assert rings.new(RAW, make_spec(n_slots=32)).n_slots == 8
    assert rings.shrunk == 8
    with pytest.raises(BusError, match="no room"):
        rings.new(CLEAN, make_spec(n_slots=32))


def test_a_ring_of_the_least_slots_that_does_not_fit_is_an_error(
    rings: LineRings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(spec: RingSpec) -> Ring:
        raise BusError(f"no room for {spec.n_slots}")

    rings.new(RAW, make_spec(n_slots=32))
    monkeypatch.setattr(Ring, "create", none)
    with pytest.raises(BusError, match="no room for 4"):
        rings.new(RAW, make_spec(n_slots=32))
