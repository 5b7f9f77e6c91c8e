"""A field that is kept whole: on disk without copies of it, refused where it does not fit."""

from __future__ import annotations

import errno
import tracemalloc
from pathlib import Path
from typing import Any

import collect_kit
import dataset_kit as kit
import numpy as np
import pytest

from livedenoise.collect import memory
from livedenoise.collect.memory import available_bytes, field_bytes, require_memory
from livedenoise.collect.pending import FieldTaken, PendingFields
from livedenoise.collect.plan import load_plan
from livedenoise.collect.program import Program
from livedenoise.collect.shots import Shot, Site, Taken
from livedenoise.core.clock import ManualClock
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.microscope import MicroscopeInfo
from livedenoise.microscope.simulated import SimulatedMicroscope
from livedenoise.record.raw_file import open_new

FRAME = (512, 512)


def make_field(frames: int = 24) -> FieldTaken:
    stack = [kit.make_pixels(n, shape=FRAME) for n in range(frames)]
    taken = Taken(
        shot=Shot(role="high", exposure_us=10, frames=frames),
        image=np.mean(stack, axis=0, dtype=np.float32),
        first=stack[0],
        last=stack[-1],
        frames=tuple(stack),
    )
    return FieldTaken(
        field=3, attempt=1, taken=((taken,),), dose_us=1.0, elapsed_s=1.0, overhead_s=0.5
    )


def test_a_field_is_written_without_copies_of_its_pixels(tmp_path: Path) -> None:
    taken = make_field()
    pending = PendingFields(tmp_path)
    tracemalloc.start()
    try:
        pending.keep(taken)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(frame.nbytes for frame in taken.taken[0][0].frames)
    assert pending.path_of(3, 1).stat().st_size > size
    assert peak < size / 4
    (back,) = pending.left(lambda _field, _attempt: False)
    one, other = taken.taken[0][0], back.taken[0][0]
    assert (back.field, back.attempt, other.shot) == (3, 1, one.shot)
    for stored, kept in zip((other.image, *other.frames), (one.image, *one.frames), strict=True):
        assert stored.dtype == kept.dtype
        np.testing.assert_array_equal(stored, kept)


class FullDisk:
    """A file that takes a little at a time, and at last no more."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = open_new(path)
        self._room = room

    def write(self, data: memoryview) -> int:
        if self._room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        part = memoryview(data)[: min(self._room, 4096)]
        self._room -= part.nbytes
        return self._file.write(part)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_disk_that_fills_up_leaves_no_part_of_a_field(tmp_path: Path) -> None:
    taken = make_field(2)
    for room in (1, 100_000, 1_572_864 + 1_048_576):
        pending = PendingFields(tmp_path, lambda path, room=room: FullDisk(path, room))
        with pytest.raises(RecordError, match="cannot be written"):
            pending.keep(taken)
        assert not list((tmp_path / "pending").iterdir())


def test_a_disk_that_takes_parts_gets_it_all(tmp_path: Path) -> None:
    pending = PendingFields(tmp_path, lambda path: FullDisk(path, 1 << 30))
    pending.keep(make_field(2))
    assert len(list(pending.left(lambda _field, _attempt: False))) == 1


@pytest.fixture
def info() -> MicroscopeInfo:
    scope = SimulatedMicroscope(collect_kit.make_camera(), ManualClock(1))
    try:
        return scope.open()
    finally:
        scope.close()


def make_program(frames: int = 100, *, keep: bool = True) -> Program:
    shots = (
        Shot(role="low", exposure_us=10),
        Shot(role="high", exposure_us=10, frames=frames),
    )
    return Program(
        name="",
        plan_hash="",
        fields=((Site(field=0),), (Site(field=1), Site(field=1, index=1))),
        sequences={"": shots},
        splits=("train", "train"),
        keep_frames=keep,
    )


def test_the_largest_field_is_counted(info: MicroscopeInfo) -> None:
    pixels = info.shape[0] * info.shape[1]
    assert field_bytes(make_program(), info) == pixels * 2 * (2 + 4 + 200)
    assert field_bytes(make_program(keep=False), info) == pixels * 2 * (2 + 4 + 4)


def test_a_field_that_does_not_fit_is_refused_with_numbers(
    info: MicroscopeInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = field_bytes(make_program(), info)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * needed)
    require_memory(make_program(), info)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * needed - 1)
    with pytest.raises(ConfigError, match="keep_frames: the frames of a field need") as caught:
        require_memory(make_program(), info)
    assert f"{needed / 1e9:.3g} GB" in str(caught.value)
    assert "keep_frames = false" in caught.value.hint
    require_memory(make_program(keep=False), info)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    require_memory(make_program(), info)


def test_what_is_available_is_read_or_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:   2048 kB\n", encoding="ascii")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    assert available_bytes() == 2048 * 1024
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory.os, "sysconf_names", {}, raising=False)
    assert available_bytes() is None


def test_a_run_refuses_before_anything_is_exposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    path = collect_kit.make_plan(tmp_path).path
    path.write_text("keep_frames = true\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    config = collect_kit.make_camera()
    clock = ManualClock(1)
    scope = collect_kit.Witness(SimulatedMicroscope(config, clock))
    with pytest.raises(ConfigError, match="keep_frames"):
        collect_kit.run(config, load_plan(path), tmp_path / "set", scope=scope, clock=clock)
    assert not any(name == "expose" for name, _ in scope.log)
