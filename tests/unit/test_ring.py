"""The shared-memory ring: who may attach, who removes it, and what outlives whom."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from stream_kit import make_header, make_spec, open_stream

from livedenoise.bus import segment
from livedenoise.bus.ring import PAGE, Ring, RingSpec, ring_spec
from livedenoise.bus.segment import remove_stale
from livedenoise.bus.slots import Lease
from livedenoise.core.errors import BusError

SHM = Path("/dev/shm")  # noqa: S108  (shared memory, not a temporary file)
needs_shm_dir = pytest.mark.skipif(not SHM.is_dir(), reason="no folder of shared memory here")


@pytest.fixture
def ring() -> Iterator[Ring]:
    owned = Ring.create(make_spec(n_slots=4))
    yield owned
    owned.close()


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process that shares nothing with this one; any warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PREAMBLE = """
import os, signal, sys
import msgspec
from livedenoise.bus.ring import Ring, RingSpec
spec = msgspec.json.decode(sys.argv[1], type=RingSpec)
"""


def as_json(spec: RingSpec) -> str:
    return msgspec.json.encode(spec).decode()


def test_every_slot_is_apart_and_page_aligned(ring: Ring) -> None:
    views = [ring.view(slot, (6, 8), "<u2") for slot in range(4)]
    for slot, view in enumerate(views):
        view[...] = slot + 1
    other = Ring.attach(ring.spec)
    for slot in range(4):
        seen = other.view(slot, (6, 8), "<u2")
        assert (seen == slot + 1).all()
        assert seen.ctypes.data % PAGE == 0
    assert not ring.generations.any(), "writing pixels must not touch the table in front of them"
    assert ring.leases() == []
    other.close()


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<f4"])
def test_views_share_the_pixels_of_other_attachments(ring: Ring, dtype: str) -> None:
    other = Ring.attach(ring.spec)
    ring.view(2, (5, 7), dtype)[...] = np.arange(35).reshape(5, 7)
    found = other.view(2, (5, 7), dtype)
    assert (found.dtype, found.shape) == (np.dtype(dtype), (5, 7))
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, np.arange(35).reshape(5, 7))
    other.close()


def test_generations_and_leases_travel_between_attachments(ring: Ring) -> None:
    reader = Ring.attach(ring.spec)
    ring.set_generation(3, 6)
    assert reader.is_current(3, 6)
    assert not reader.is_current(3, 4)
    reader.write_lease(0, 1, Lease(3, 6, 1234))
    reader.write_lease(15, 2, Lease(0, 2, 99))
    assert ring.leases() == [Lease(3, 6, 1234), Lease(0, 2, 99)]
    reader.write_lease(0, 1, None)
    assert ring.leases() == [Lease(0, 2, 99)]
    ring.clear_leases(15)
    assert ring.leases() == []
    reader.close()


@pytest.mark.parametrize(
    ("slot", "shape"), [(4, (2, 2)), (-1, (2, 2)), (0, (6, 2000)), (3, (2049, 1))]
)
def test_view_outside_the_ring_is_refused(ring: Ring, slot: int, shape: tuple[int, int]) -> None:
    with pytest.raises(BusError, match=f"no room for .* in slot {slot} .4 slots of 4096 bytes"):
        ring.view(slot, shape, "<u2")


def test_attach_to_a_ring_that_is_not_there() -> None:
    with pytest.raises(BusError, match="no such shared memory"):
        Ring.attach(make_spec())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"n_slots": 3}, "header .*, expected .* 3, 4096, 0"),
        ({"n_slots": 5}, r"segment of \d+ bytes, \d+ expected"),
        ({"slot_bytes": 8192}, r"segment of \d+ bytes, \d+ expected"),
        ({"ring_epoch": 7}, r"header .*, expected .* 4, 4096, 7"),
    ],
)
def test_attach_with_another_specification_is_refused(
    ring: Ring, change: dict[str, int], problem: str
) -> None:
    with pytest.raises(BusError, match=problem):
        Ring.attach(msgspec.structs.replace(ring.spec, **change))
    Ring.attach(ring.spec).close()


@needs_shm_dir
def test_attach_to_a_segment_that_is_no_ring() -> None:
    spec = make_spec()
    path = SHM / spec.name
    try:
        path.touch()
        with pytest.raises(BusError, match="cannot be attached"):
            Ring.attach(spec)
        path.write_bytes(b"\xff" * (1 << 16))
        with pytest.raises(BusError, match="header"):
            Ring.attach(spec)
        assert path.exists(), "a failed attach must not remove what it did not create"
    finally:
        path.unlink()


def test_create_twice_is_refused_and_leaves_the_first_alone(ring: Ring) -> None:
    with pytest.raises(BusError, match=r"cannot be created: .*exists"):
        Ring.create(ring.spec)
    Ring.attach(ring.spec).close()


@needs_shm_dir
def test_no_room_names_both_sizes() -> None:
    spec = msgspec.structs.replace(make_spec(), n_slots=1 << 20, slot_bytes=1 << 24)
    with pytest.raises(BusError, match=r"ring of 1677\d{4} MiB does not fit the \d+ MiB") as caught:
        Ring.create(spec)
    assert "ring.memory_mb" in caught.value.hint
    assert not (SHM / spec.name).exists()


@needs_shm_dir
def test_pages_that_cannot_be_reserved_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    spec = make_spec()
    with pytest.raises(BusError, match=r"cannot be reserved: .*No space left"):
        Ring.create(spec)
    assert not (SHM / spec.name).exists()


@needs_shm_dir
def test_every_page_is_allocated_at_once() -> None:
    spec = msgspec.structs.replace(make_spec(n_slots=4), slot_bytes=64 * PAGE)
    ring = Ring.create(spec)
    assert (SHM / spec.name).stat().st_blocks * 512 >= 4 * 64 * PAGE
    ring.close()


def test_close_is_idempotent_and_removes_the_segment_once(ring: Ring) -> None:
    reader = Ring.attach(ring.spec)
    ring.close()
    ring.close()
    with pytest.raises(BusError, match="no such shared memory"):
        Ring.attach(ring.spec)
    reader.close()
    reader.close()


def test_views_stay_readable_after_close(ring: Ring) -> None:
    reader = Ring.attach(ring.spec)
    ring.view(1, (6, 8), "<u2")[...] = 77
    pixels = reader.view(1, (6, 8), "<u2")
    reader.close()
    ring.close()
    assert (pixels == 77).all()
    with pytest.raises(BusError, match="closed already"):
        reader.view(1, (6, 8), "<u2")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_nothing_stays_mapped_or_open_once_the_views_are_gone(ring: Ring) -> None:
    def in_use() -> tuple[int, int]:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8").count(ring.spec.name)
        files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return mapped, sum(ring.spec.name in file.name for file in files)

    reader = Ring.attach(ring.spec)
    pixels = reader.view(1, (6, 8), "<u2")
    reader.close()
    ring.close()
    assert in_use() == (1, 1), "the view keeps the mapping and the mapping its file, no more"
    del pixels
    gc.collect()
    assert in_use() == (0, 0)


@needs_shm_dir
def test_a_foreign_process_attaches_and_exits_and_the_ring_lives(ring: Ring) -> None:
    """On Python < 3.13 the resource tracker of the other process would unlink the segment."""
    ring.view(0, (6, 8), "<u2")[...] = 5
    script = PREAMBLE + (
        "ring = Ring.attach(spec)\n"
        "pixels = ring.view(0, (6, 8), '<u2')\n"
        "assert (pixels == 5).all()\n"
        "pixels[...] = 6\n"  # and it exits without closing, with a view alive
    )
    done = run_python(script, as_json(ring.spec))
    assert (done.returncode, done.stderr) == (0, "")
    assert (ring.view(0, (6, 8), "<u2") == 6).all()
    assert (SHM / ring.spec.name).exists()
    Ring.attach(ring.spec).close()


@needs_shm_dir
def test_an_owner_that_closes_leaves_no_segment_no_tracker_and_no_noise() -> None:
    script = PREAMBLE + (
        "from multiprocessing import resource_tracker\n"
        "ring = Ring.create(spec)\n"
        "view = ring.view(0, (6, 8), '<u2')\n"
        "second = Ring.attach(spec)\n"
        "second.close()\n"
        "ring.close()\n"
        "assert view.sum() == 0\n"
        "assert resource_tracker._resource_tracker._pid is None, 'a tracker was started'\n"
    )
    spec = make_spec()
    done = run_python(script, as_json(spec))
    assert (done.returncode, done.stderr) == (0, "")
    assert not (SHM / spec.name).exists()


@needs_shm_dir
def test_other_shared_memory_is_still_tracked() -> None:
    """While a ring is opened, only rings are kept from the resource tracker."""
    seen: list[str] = []
    verb = segment._but_rings(lambda name, rtype: seen.append(f"{rtype} {name}"))
    verb("/ldn_1_00000000", "shared_memory")
    verb("/psm_other", "shared_memory")
    verb("/mp-lock", "semaphore")
    assert seen == ["shared_memory /psm_other", "semaphore /mp-lock"]


@needs_shm_dir
def test_segments_of_a_killed_owner_are_removed_at_the_next_start(ring: Ring) -> None:
    script = PREAMBLE + (
        "name = f'ldn_{os.getpid()}_0a1b2c3d'\n"
        "ring = Ring.create(msgspec.structs.replace(spec, name=name))\n"
        "print(name, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = run_python(script, as_json(ring.spec))
    name = killed.stdout.strip()
    assert (SHM / name).exists()
    assert name in remove_stale()
    assert not (SHM / name).exists()
    assert (SHM / ring.spec.name).exists(), "the owner of this one lives"


@needs_shm_dir
@pytest.mark.parametrize(
    "name",
    [
        "ldn_{pid}_0a1b2c3d",
        "ldn_notes",
        "ldn_1234",
        "ldn_{dead}_xyz",
        "ldn_{dead}_0a1b2c3d_more",
        "ldn_\u00b2\u00b2_0a1b2c3d",
        "ldn_99999999999999999999_0a1b2c3d",
        "other_{dead}_0a1b2c3d",
    ],
)
def test_what_is_not_a_dead_ring_stays(name: str) -> None:
    path = SHM / name.format(pid=os.getpid(), dead=_dead_pid())
    path.touch()
    try:
        assert path.name not in remove_stale()
        assert path.exists()
    finally:
        path.unlink()


@needs_shm_dir
def test_segments_of_other_users_are_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    path = SHM / f"ldn_{_dead_pid()}_0a1b2c3d"
    path.touch()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getuid", lambda: 4242)
            assert remove_stale() == []
        assert path.exists()
    finally:
        path.unlink()


def _dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_ring_spec_fits_the_memory_and_the_bounds() -> None:
    spec = ring_spec("raw", 2048 * 2048 * 2, memory_bytes=1 << 30, max_slots=256)
    assert (spec.n_slots, spec.slot_bytes) == (128, 2048 * 2048 * 2)
    assert ring_spec("raw", 100, memory_bytes=1 << 30, max_slots=16).n_slots == 16
    assert ring_spec("raw", PAGE + 1, memory_bytes=1 << 20, max_slots=999).slot_bytes == 2 * PAGE
    assert ring_spec("raw", 100, memory_bytes=1 << 20, max_slots=8, ring_epoch=3).ring_epoch == 3


def test_ring_spec_needs_room_for_four_frames() -> None:
    with pytest.raises(BusError, match=r"32 MiB hold 2 frames of 16777215 bytes") as caught:
        ring_spec("raw", (1 << 24) - 1, memory_bytes=32 << 20, max_slots=256)
    assert caught.value.hint == "raise ring.memory_mb"


@pytest.mark.parametrize(
    "change",
    [
        {"slot": -1},
        {"slot": 4},
        {"generation": 0},
        {"generation": -2},
        {"ring_epoch": 1},
        {"dtype": "O"},
        {"dtype": "<f8"},
        {"dtype": "nonsense"},
        {"height": 0},
        {"height": -6, "width": -8},
        {"height": 2049, "width": 1},
        {"width": 10**12},
    ],
)
def test_headers_that_cannot_be_true_of_the_ring(ring: Ring, change: dict[str, object]) -> None:
    assert ring.holds(make_header(1))
    assert not ring.holds(make_header(1, **change))


def test_the_writers_totals_outlive_it() -> None:
    with open_stream() as stream:
        assert stream.ring.totals().last_seq == -1
        stream.publish(3)
        stream.writer.drop(3, 77)
        stream.writer.drop()
        other = Ring.attach(stream.ring.spec)
        stream.writer.close()
        totals = other.totals()
        assert (totals.captured, totals.published, totals.dropped_full) == (5, 3, 2)
        assert (totals.last_seq, totals.last_host_ns) == (3, 77)
        other.close()
        assert other.totals().published == 0


def test_an_aborted_slot_is_in_no_total() -> None:
    with open_stream() as stream:
        slot = stream.begin()
        assert slot is not None
        stream.writer.abort(slot[0])
        stream.publish(1)
        assert stream.ring.totals().captured == 1
