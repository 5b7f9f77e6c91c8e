"""Judging memory and disk: made-up numbers on both sides of every limit."""

from __future__ import annotations

import pytest

from livedenoise.daemon.preflight import space

MIB, GIB = 1 << 20, 1 << 30


def test_rings_that_fit_exactly_are_ok_and_one_byte_more_is_a_problem() -> None:
    assert space.judge_shared_memory(GIB, GIB).ok == "ok"
    found = space.judge_shared_memory(GIB + 1, GIB)
    assert found.ok == "problem"
    assert "ring.memory_mb" in found.mend


def test_a_platform_without_a_limit_is_ok() -> None:
    assert space.judge_shared_memory(100 * GIB, None).ok == "ok"


def test_memory_counts_rings_and_processes() -> None:
    rings, need = GIB, GIB + 4 * space.PROCESS_BYTES
    assert space.judge_ram(rings, 4, need).ok == "ok"
    assert space.judge_ram(rings, 4, need - 1).ok == "warning"
    assert space.judge_ram(rings, 4, rings - 1).ok == "problem"
    assert space.judge_ram(rings, 4, None).ok == "ok"


@pytest.mark.parametrize(("slots", "ok"), [(50, "ok"), (49, "warning")])
def test_a_ring_must_hold_half_a_second(slots: int, ok: str) -> None:
    found = space.judge_ring_depth("cam", slots, 100.0)
    assert found.ok == ok
    assert f"{slots / 100:.2f} s" in found.text


def test_a_source_without_a_rate_has_no_depth_in_seconds() -> None:
    assert space.judge_ring_depth("cam", 4, 0.0).ok == "ok"


@pytest.mark.parametrize(
    ("seconds", "planned_s", "ok"),
    [
        (600, None, "ok"),
        (599, None, "warning"),
        (10, None, "warning"),
        (9.9, None, "problem"),
        (60, 60.0, "ok"),
        (59.9, 60.0, "warning"),
        (9.9, 5.0, "problem"),
        (7000, 7200.0, "warning"),
    ],
)
def test_free_space_is_judged_as_recording_time(
    seconds: float, planned_s: float | None, ok: str
) -> None:
    rate = 100e6
    assert space.judge_disk(int(seconds * rate), rate, planned_s).ok == ok


def test_recording_minutes_are_named() -> None:
    found = space.judge_disk(int(100e6 * 60 * 23), 100e6, None)
    assert "23 min" in found.text
    assert "100 MB/s" in found.text


def test_a_recording_of_known_size_must_fit() -> None:
    assert space.judge_disk_total(GIB, GIB).ok == "ok"
    assert space.judge_disk_total(GIB, GIB + 1).ok == "problem"


def test_a_folder_that_cannot_be_written_says_why() -> None:
    found = space.judge_folder("/data", "Read-only file system")
    assert (found.ok, "Read-only file system" in found.text) == ("problem", True)
    assert space.judge_folder("/data", "").ok == "ok"


@pytest.mark.parametrize(
    ("kind", "part_mib", "ok"),
    [
        ("vfat", 4096, "problem"),
        ("vfat", 4000, "ok"),
        ("exfat", 4096, "ok"),
        ("ext4", 4096, "ok"),
        ("tmpfs", 4096, "warning"),
        ("nfs4", 4096, "warning"),
        ("", 4096, "ok"),
    ],
)
def test_file_systems_are_judged_by_their_limits(kind: str, part_mib: int, ok: str) -> None:
    assert space.judge_file_system(kind, part_mib * MIB).ok == ok


def test_nothing_recorded_is_a_warning() -> None:
    assert space.nothing_recorded().ok == "warning"


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(MIB, "1 MiB"), (1023 * MIB, "1023 MiB"), (3 * GIB // 2, "1.5 GiB")]
)
def test_sizes_read_well(n_bytes: int, text: str) -> None:
    assert space.size_text(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(119, "119 s"), (120, "2 min"), (299 * 60, "299 min"), (18000, "5 h")]
)
def test_times_read_well(seconds: float, text: str) -> None:
    assert space.time_text(seconds) == text
