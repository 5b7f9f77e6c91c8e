"""Beginning and going on with a collection: who may, and what must be equal."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from collect_kit import Witness, make_camera, make_plan, run

from livedenoise.collect import dataset_lock, session
from livedenoise.collect.camera_facts import Known, stored_camera
from livedenoise.collect.camera_facts import make_camera as camera_of_checks
from livedenoise.collect.dataset_lock import DatasetLock
from livedenoise.collect.dataset_resume import program_hash
from livedenoise.collect.manifest import read_header
from livedenoise.collect.plan import make_program
from livedenoise.collect.program import Limits
from livedenoise.collect.records import DatasetHeader
from livedenoise.collect.run import PairShown
from livedenoise.core.clock import ManualClock
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.core.microscope import Microscope
from livedenoise.core.progress import ignore_progress
from livedenoise.microscope.simulated import SimulatedMicroscope

CONSTANTS = {"gain_e_per_adu": 0.46, "offset_adu": 100.0, "read_noise_e": 1.5}


def witness(config: object, clock: ManualClock) -> Witness:
    return Witness(SimulatedMicroscope(config, clock))  # type: ignore[arg-type]


class StopAtFirstPair(list[PairShown]):
    """Sets ``stop`` when the first pair is shown."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    def append(self, one: PairShown) -> None:
        super().append(one)
        self.stop.set()


def begin(config: Any, plan: Any, out: Path) -> None:
    """Take a part of the fields."""
    stop = threading.Event()
    summary = run(config, plan, out, stop=stop, shown=StopAtFirstPair(stop))
    assert 0 < summary.left < 4


# Who may begin


@pytest.mark.parametrize("begun", [False, True])
def test_a_second_process_leaves_the_microscope_alone(tmp_path: Path, begun: bool) -> None:
    config, plan, out = make_camera(), make_plan(tmp_path), tmp_path / "set"
    if begun:
        begin(config, plan, out)
    held, clock = DatasetLock(out), ManualClock(1)
    scope = witness(config, clock)
    with pytest.raises(ConfigError, match="another collection writes here"):
        run(config, plan, out, scope=scope, clock=clock)
    assert scope.log == []
    held.release()
    assert run(config, plan, out).fields_done == 4


@pytest.mark.skipif(sys.platform == "win32", reason="an open file is not removed there")
def test_a_lock_that_goes_in_the_same_moment_is_nobody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, lock = DatasetLock(tmp_path / "set"), dataset_lock._lock

    def too_late(descriptor: int) -> None:
        first.release()  # and removes what it made
        lock(descriptor)

    monkeypatch.setattr(dataset_lock, "_lock", too_late)
    with pytest.raises(ConfigError, match="another collection"):
        DatasetLock(tmp_path / "set")


RIG = """
[[camera]]
kind = "simulated"
name = "sim"
sensor = { width_px = 128, height_px = 128 }
scene = { kind = "mixed", photons_per_s = 40000.0, motion_px_per_s = 0.0 }
[camera.microscope]
pixel_size_um = 0.1
stage_speed_um_per_s = 1e6
"""


def collect_by_files(folder: Path, out: Path) -> session.CollectSummary:
    (folder / "rig.toml").write_text(RIG)
    make_plan(folder, rows=1, columns=1, dark_frames=2)
    return session.run_collect(
        folder / "rig.toml",
        folder / "plan.toml",
        out,
        resume=False,
        on_progress=ignore_progress,
        on_pair=None,
        stop=threading.Event(),
        clock=ManualClock(1),
    )


def test_the_journal_is_for_whoever_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, journals = tmp_path / "new" / "sub" / "x", []

    def opened(camera: Any, *, journal: Path) -> Microscope:
        journals.append(journal)
        journal.write_text("there is a folder for it")
        with pytest.raises(ConfigError, match="another collection"):
            DatasetLock(out)
        return SimulatedMicroscope(camera, ManualClock(1))

    monkeypatch.setattr(session, "open_microscope_for", opened)
    assert collect_by_files(tmp_path, out).fields_done == 1
    assert [path.parent for path in journals] == [out.parent]

    held = DatasetLock(tmp_path / "other")
    with pytest.raises(ConfigError, match="another collection"):
        collect_by_files(tmp_path, tmp_path / "other")
    held.release()
    assert len(journals) == 1


def test_what_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    config = make_camera()
    out = tmp_path / "new" / "set"
    clock = ManualClock(1)
    scope = witness(config, clock)

    def refuses() -> None:
        raise CameraError("camera sim: is not there")

    scope.inner.open = refuses  # type: ignore[method-assign, assignment]
    with pytest.raises(CameraError, match="is not there"):
        run(config, make_plan(tmp_path), out, scope=scope, clock=clock)
    assert not (tmp_path / "new").exists()
    (out / "mine").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not empty: mine"):
        run(config, make_plan(tmp_path), out)
    assert [path.name for path in out.iterdir()] == ["mine"]


# What must be equal


def test_another_pixel_size_is_refused_with_both_values(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path), tmp_path / "set"
    begin(make_camera(), plan, out)
    other, clock = make_camera(pixel_size_um=0.2), ManualClock(1)
    scope = witness(other, clock)
    with pytest.raises(ConfigError, match=r"pixel_size_um is 0\.1 in the data set, 0\.2 now") as e:
        run(other, plan, out, scope=scope, clock=clock)
    assert f"program_hash is '{read_header(out).program_hash}' in" in e.value.message
    assert not scope.named("expose")
    # A data set of an earlier version says nothing of its program, only of its pixels.
    forget(out, "program_hash")
    with pytest.raises(ConfigError) as caught:
        run(other, plan, out)
    assert "program_hash" not in caught.value.message
    assert run(make_camera(), plan, out).fields_done == 4


def forget(out: Path, key: str) -> None:
    """Take a key out of the header, as an earlier version wrote it."""
    first, rest = (out / "manifest.jsonl").read_bytes().split(b"\n", 1)
    header = json.loads(first)
    del header[key]
    (out / "manifest.jsonl").write_bytes(json.dumps(header).encode() + b"\n" + rest)


def test_the_program_is_places_exposures_splits_and_limits(tmp_path: Path) -> None:
    scope = SimulatedMicroscope(make_camera(), ManualClock(1))
    info = scope.open()
    program = make_program(make_plan(tmp_path), info, scope.position())
    scope.close()
    site = msgspec.structs.replace(program.fields[0][0], x_um=1.0)
    shots = program.sequences[""]
    others: list[dict[str, Any]] = [
        {"fields": ((site,), *program.fields[1:])},
        {"sequences": {"": (*shots[:-1], msgspec.structs.replace(shots[-1], exposure_us=7))}},
        {"splits": ("test", *program.splits[1:])},
        {"limits": Limits(sigmas=4.0)},
        {"darks": program.darks[:1]},
    ]
    found = {program_hash(msgspec.structs.replace(program, **change)) for change in others}
    assert len(found) == len(others)
    assert program_hash(program) not in found
    assert program_hash(msgspec.structs.replace(program, attempts=9)) == program_hash(program)


def test_other_constants_are_refused_with_both_values(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path), tmp_path / "set"
    begin(make_camera(camera={"constants": CONSTANTS}), plan, out)
    other = make_camera(camera={"constants": CONSTANTS | {"gain_e_per_adu": 5.0}})
    clock = ManualClock(1)
    scope = witness(other, clock)
    with pytest.raises(
        ConfigError, match=r"gain_e_per_adu is 0\.46 in the data set \(manual\), 5\.0 now"
    ):
        run(other, plan, out, scope=scope, clock=clock)
    assert not scope.named("expose")
    # Nobody knows any constants now: those of the data set hold.
    unknown = make_camera(camera={"estimate_constants": True})
    assert run(unknown, plan, out).fields_done == 4
    assert read_header(out).gain_e_per_adu == 0.46


def test_constants_that_were_estimated_go_on_to_hold(tmp_path: Path) -> None:
    plan, out = make_plan(tmp_path), tmp_path / "set"
    begin(make_camera(camera={"estimate_constants": True}), plan, out)
    gain = read_header(out).gain_e_per_adu
    shown: list[PairShown] = []
    other = make_camera(camera={"constants": CONSTANTS | {"gain_e_per_adu": 5.0}})
    summary = run(other, plan, out, shown=shown)
    assert any("that this data set estimated" in note for note in summary.notes)
    for one in shown:
        shot = one.pair.high
        signal_adu = one.verdict.high_electrons / gain
        assert signal_adu == pytest.approx(shot.image.mean() - 100.0, rel=0.05)


def test_the_maps_of_a_calibration_judge_on_both_sides_of_a_resume(tmp_path: Path) -> None:
    scope = SimulatedMicroscope(make_camera(), ManualClock(1))
    info = scope.open()
    scope.close()
    offset, variance = (np.full(info.shape, value, np.float32) for value in (103.0, 9.0))
    maps = SimpleNamespace(offset_adu=offset, variance_adu2=variance)
    calibration: Any = SimpleNamespace(maps=SimpleNamespace(crop=lambda *_: maps))
    constants = CameraConstants(
        gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.0, source="calibration"
    )
    known = Known(constants=constants, calibration=calibration)
    header = DatasetHeader(
        bit_depth=info.camera.bit_depth,
        gain_e_per_adu=0.5,
        offset_adu=100.0,
        read_noise_e=1.0,
        constants_source="calibration",
    )
    new, again = (
        camera_of_checks(known, info, {}, []),
        stored_camera(tmp_path, header, known, info),
    )
    assert new.constants == again.constants
    for one in (new, again):
        np.testing.assert_array_equal(one.offset_adu(1000), offset)
        assert one.read_variance_adu2 == 9.0
