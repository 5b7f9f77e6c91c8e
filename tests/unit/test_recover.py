"""``recover``: a killed or damaged run is whole again; what is missing is told, not invented."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from record_kit import (
    FRAME_BYTES,
    PART_BYTES,
    PERIOD_NS,
    abandoned,
    again,
    assert_readable,
    assert_source,
    contents,
    killed_run,
    live,
    make_header,
    make_pixels,
    make_run,
    mend,
)

from livedenoise.core.config import parse_config
from livedenoise.core.errors import ConfigError
from livedenoise.core.progress import Progress
from livedenoise.record import recover
from livedenoise.record.index import read_index
from livedenoise.record.recorder import Recorder
from livedenoise.record.recover import recover_run
from livedenoise.record.run_folder import create_run_folder, open_run


@pytest.fixture(autouse=True)
def stages_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "_STAGES_END_S", 0.0)


def test_killed_run_is_finished(tmp_path: Path) -> None:
    path = killed_run(tmp_path)
    with (path / "raw/cam/frames.jsonl").open("ab") as file:
        file.write(b'{"kind":"frame","seq":7,"ep')
    checked = recover_run(path, check_only=True)
    assert (checked.complete, checked.exit_code) == (False, 5)
    assert not (path / "summary.json").exists()
    report = recover_run(path)
    assert (report.complete, report.exit_code, report.lost) == (False, 0, 0)
    [stream] = report.streams
    assert (stream.stream, stream.camera, stream.frames) == ("raw", "cam", 6)
    assert stream.bytes == 6 * FRAME_BYTES
    assert stream.missing == {"missing": 1}
    assert any("torn line of 27 bytes" in text for text in stream.found)
    assert any("index.json: missing" in text for text in stream.found)
    assert [*checked.found, *checked.streams[0].found] == [*report.found, *stream.found]
    assert_readable(path / "raw/cam")
    assert_source(path, (0, 1, 2, 3, 5, 6))
    again(path)


def test_index_is_the_one_the_recorder_would_have_written(tmp_path: Path) -> None:
    path = killed_run(tmp_path)
    recover_run(path)
    found = read_index(path / "raw/cam")
    recorder = Recorder(tmp_path / "whole", "raw", part_size_bytes=PART_BYTES)
    for seq in (0, 1, 2, 3, 5, 6):
        recorder.append(make_header(seq), make_pixels(seq))
    expected = recorder.finalise()
    assert found is not None
    assert found.recovered
    assert not found.complete
    assert "killed" in found.error
    changes = {"complete": True, "error": "", "recovered": False, "notes": ()}
    assert msgspec.structs.replace(found, **changes) == expected


def test_summary_tells_what_is_known_and_is_marked(tmp_path: Path) -> None:
    path = killed_run(tmp_path, created="2026-01-02T03:04:05+01:00", created_ns=5 * PERIOD_NS)
    with abandoned(path / "clean" / "cam") as recorder:
        recorder.append(make_header(1), make_pixels(1))
    recover_run(path)
    summary = open_run(path).summary
    assert summary is not None
    assert summary["recovered"] is True
    assert (summary["recorded"], summary["recorded_clean"]) == (6, 1)
    assert (summary["missing"], summary["missing_clean"]) == ({"missing": 1}, {"missing": 1})
    assert summary["first_time"] == "2026-01-02T03:04:05.000+01:00"
    assert summary["last_time"] == "2026-01-02T03:04:05.006+01:00"
    assert summary["seconds"] == pytest.approx(0.006)
    # Six frames, five periods of recorded frames in 6 ms.
    assert summary["fps"] == pytest.approx(5 / 0.006)
    assert [(s["stream"], s["frames"]) for s in summary["streams"]] == [("raw", 6), ("clean", 1)]
    assert not {"captured", "latency_ms", "denoised", "fps_in"} & summary.keys()


def test_complete_run_is_left_alone(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    recorder = Recorder(path / "raw" / "cam", "raw", part_size_bytes=PART_BYTES)
    for seq in range(5):
        recorder.append(make_header(seq), make_pixels(seq))
    recorder.finalise()
    (path / "summary.json").write_text('{"recorded": 5}')
    report = again(path)
    assert (report.complete, report.exit_code, report.summary) == (True, 0, {})
    assert report.streams[0].complete


def test_run_that_recorded_nothing(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    report = recover_run(path)
    assert report.streams == ()
    summary = open_run(path).summary
    assert summary is not None
    assert summary["recorded"] == 0
    assert "seconds" not in summary
    assert again(path).complete


@settings(max_examples=40, deadline=None)
@given(budgets=st.lists(st.sampled_from(range(5000)), min_size=1, max_size=3))
@example(budgets=[1])
def test_recovered_after_a_kill_at_any_byte(
    tmp_path_factory: pytest.TempPathFactory, budgets: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("run") / "raw" / "cam"
    seqs, done = list(range(9)), []
    for budget in budgets:
        lived = live(folder, seqs[len(done) :], budget, part_size_bytes=PART_BYTES)
        done += lived[0]
    if not (folder / "frames.jsonl").exists():
        return
    pixels = sum(path.stat().st_size for path in folder.glob("*.tif") if path.stat().st_size > 16)
    report = mend(folder)
    content = assert_readable(folder)
    numbers = [line.seq for line in content.frames]
    assert numbers[: len(done)] == done
    assert report.frames == len(numbers) <= len(done) + len(budgets)
    index = read_index(folder)
    assert index is not None
    assert index.frames == len(numbers)
    assert [folder / part.file for part in index.parts] == sorted(folder.glob("part-*.tif"))
    assert sum(path.stat().st_size for path in folder.glob("*.tif")) == pixels
    before = contents(folder)
    second = mend(folder)
    assert second.complete, second.found
    assert contents(folder) == before
    assert (second.frames, second.missing, second.error) == (
        report.frames,
        report.missing,
        report.error,
    )
    # And a successor can still go on.
    assert live(folder, [20], 1 << 30, part_size_bytes=PART_BYTES) == ([20], True)
    assert_readable(folder)


def test_living_run_is_refused(tmp_path: Path) -> None:
    config = parse_config({"camera": [{"kind": "simulated"}]}, "test")
    path = create_run_folder(tmp_path, "test", config=config, argv=[]).path
    with abandoned(path / "raw" / "cam") as recorder:
        recorder.append(make_header(0), make_pixels(0))
    before = contents(path)
    with pytest.raises(ConfigError, match=f"process {os.getpid()}\\) still runs"):
        recover_run(path)
    assert contents(path) == before
    assert recover_run(path, force=True).streams[0].frames == 1


def test_run_of_another_machine_is_refused_while_it_is_written(tmp_path: Path) -> None:
    path = killed_run(tmp_path, host="elsewhere")
    with pytest.raises(ConfigError, match="by a process on elsewhere that cannot be asked"):
        recover_run(path)
    past = time.time() - 1000
    for file in path.rglob("*"):
        os.utime(file, (past, past))
    assert recover_run(path).streams[0].frames == 6


def test_stages_of_a_killed_daemon_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = killed_run(tmp_path)
    monkeypatch.setattr(recover, "_STAGES_END_S", 0.2)
    os.utime(path / "raw/cam/frames.jsonl")
    started = time.monotonic()
    recover_run(path)
    assert time.monotonic() - started >= 0.15


def test_no_run_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a run folder") as caught:
        recover_run(tmp_path / "nothing")
    assert "run.json" in caught.value.hint
    path = killed_run(tmp_path)
    with pytest.raises(ConfigError, match="not a run folder") as caught:
        recover_run(path / "raw" / "cam")
    assert str(path) in caught.value.hint


def test_progress_of_a_long_sidecar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from livedenoise.record import survey

    monkeypatch.setattr(survey, "_LINES_PER_REPORT", 2)
    path = killed_run(tmp_path)
    steps: list[Progress] = []
    total = (path / "raw/cam/frames.jsonl").stat().st_size
    recover_run(path, steps.append)
    assert steps
    assert {(step.task, step.total, step.unit) for step in steps} == {("raw/cam", total, "bytes")}
    assert 0 < steps[0].done < steps[-1].done <= total
