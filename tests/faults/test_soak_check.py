"""Each kind of damage to a run folder is found by the soak's check of it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from livedenoise.core.config import Config, parse_config
from livedenoise.core.frame import FrameFlags, FrameHeader
from livedenoise.record.recorder import Recorder
from livedenoise.record.run_folder import create_run_folder
from livedenoise.testing.simulated_runs import Slots, run_camera

TOOLS = Path(__file__).resolve().parents[2] / "tools"
MODULES = ("soak_recording", "soak_images", "soak_check", "soak_tail")
POOL = 4
FRAMES = 20
GAP = range(7, 10)
"""Numbers that the camera lost."""


@pytest.fixture(scope="module")
def tools() -> Iterator[SimpleNamespace]:
    """Import the tools, which are no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Return a finished run folder: both streams, one gap, what the identity engine makes."""
    data = {
        "name": "made",
        "camera": [
            {
                "kind": "simulated",
                "name": "sim",
                "pool_frames": POOL,
                "sensor": {"width_px": 24, "height_px": 16},
            }
        ],
        "denoise": {"engine": "identity"},
        "record": {"raw": True, "clean": True},
    }
    config = parse_config(data, "test")
    folder = create_run_folder(tmp_path, "made", config=config)
    images = pool_of(config)
    recorded = FRAMES - len(GAP)
    for stream in ("raw", "clean"):
        recorder = Recorder(folder.stream_folder(stream, "sim"), stream, part_size_bytes=1 << 30)
        for seq in range(FRAMES):
            if seq == GAP.start:
                recorder.note_gap(GAP.start, GAP.stop - 1, "camera")
            if seq not in GAP:
                recorder.append(header_of(stream, seq), images[seq % POOL])
        recorder.finalise()
    summary = {"exit_code": 0, "errors": [], "conserved": True, "dropped": {}}
    folder.write_summary(summary | {"recorded": recorded, "recorded_clean": recorded})
    return folder.path


def pool_of(config: Config) -> list[Any]:
    slots = Slots()
    run_camera(config.camera[0], slots, n_frames=POOL)  # type: ignore[arg-type]
    return slots.pixels


def header_of(stream: str, seq: int) -> FrameHeader:
    facts: dict[str, Any] = dict.fromkeys(FrameHeader.__struct_fields__, 0)
    facts |= {"run_id": "run", "camera": "sim", "calibration": "", "model": "", "role": ""}
    facts |= {"stream": stream, "seq": seq, "camera_seq": seq, "height": 16, "width": 24}
    facts |= {"dtype": "<u2", "bit_depth": 16, "binning": 1, "event": -1, "t_host_ns": seq + 1}
    flags = FrameFlags.DENOISED if stream == "clean" else FrameFlags.NONE
    return FrameHeader(**(facts | {"flags": int(flags), "t_publish_ns": seq + 2}))


def sidecar(run: Path, stream: str = "raw") -> Path:
    return run / stream / "sim" / "frames.jsonl"


def lines_of(run: Path, stream: str = "raw") -> list[bytes]:
    return sidecar(run, stream).read_bytes().splitlines(keepends=True)


def put_lines(run: Path, lines: list[bytes], stream: str = "raw") -> None:
    sidecar(run, stream).write_bytes(b"".join(lines))


def find_line(run: Path, stream: str, start: str) -> int:
    lines = lines_of(run, stream)
    return next(i for i, line in enumerate(lines) if line.startswith(start.encode()))


def frame_index(run: Path, seq: int, stream: str = "raw") -> int:
    return find_line(run, stream, f'{{"kind":"frame","seq":{seq},')


def offset_of(run: Path, seq: int, stream: str = "raw") -> int:
    return int(json.loads(lines_of(run, stream)[frame_index(run, seq, stream)])["offset"])


def part_of(run: Path, stream: str = "raw") -> Path:
    return run / stream / "sim" / "part-0000.tif"


def change_pixel(run: Path, seq: int, stream: str) -> None:
    with part_of(run, stream).open("r+b") as part:
        part.seek(offset_of(run, seq, stream) + 100)
        part.write(b"\xa5\x5a")


def a_line_removed(run: Path) -> None:
    lines = lines_of(run)
    del lines[frame_index(run, 12)]
    put_lines(run, lines)


def a_duplicate_number(run: Path) -> None:
    lines = lines_of(run)
    at = frame_index(run, 12)
    lines[at] = lines[at].replace(b'"seq":12,', b'"seq":11,')
    put_lines(run, lines)


def a_gap_not_noted(run: Path) -> None:
    lines = lines_of(run)
    del lines[find_line(run, "raw", '{"kind":"gap"')]
    put_lines(run, lines)


def a_gap_over_frames(run: Path) -> None:
    lines = lines_of(run)
    at = find_line(run, "raw", '{"kind":"gap"')
    lines[at] = lines[at].replace(b'"last":9', b'"last":10')
    put_lines(run, lines)


def a_raw_pixel(run: Path) -> None:
    change_pixel(run, 13, "raw")


def a_clean_pixel(run: Path) -> None:
    change_pixel(run, 13, "clean")


def the_same_pixel_in_both(run: Path) -> None:
    change_pixel(run, 13, "raw")
    change_pixel(run, 13, "clean")


def another_image_of_the_camera(run: Path) -> None:
    """Do what a slot does that is overwritten by the next frame before it was recorded."""
    size = 24 * 16 * 2
    with part_of(run).open("r+b") as part:
        part.seek(offset_of(run, 14))
        following = part.read(size)
        part.seek(offset_of(run, 13))
        part.write(following)


def a_part_cut_off(run: Path) -> None:
    part = part_of(run)
    with part.open("r+b") as file:
        file.truncate(offset_of(run, 15) + 10)


def a_part_missing(run: Path) -> None:
    part_of(run, "clean").unlink()


def a_broken_line(run: Path) -> None:
    lines = lines_of(run)
    lines[frame_index(run, 12)] = b'{"kind":"frame","seq":1\n'
    put_lines(run, lines)


def change_summary(run: Path, **changes: object) -> None:
    path = run / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def a_summary_with_other_counts(run: Path) -> None:
    change_summary(run, recorded=FRAMES)


def an_unconserved_summary(run: Path) -> None:
    change_summary(run, conserved=False)


def an_exit_code(run: Path) -> None:
    change_summary(run, exit_code=5, errors=["disk full"])


def frames_nobody_recorded(run: Path) -> None:
    change_summary(run, dropped={"record": {"camera_restarted": 3}})


def no_summary(run: Path) -> None:
    (run / "summary.json").unlink()


DAMAGES: dict[Callable[[Path], None], str] = {
    a_line_removed: "neither frame nor gap",
    a_duplicate_number: "there twice",
    a_gap_not_noted: "neither frame nor gap: 7-9",
    a_gap_over_frames: "there twice",
    a_raw_pixel: "raw: 1 frames are no image of the camera: [13]",
    a_clean_pixel: "clean: 1 frames differ from the raw frames",
    the_same_pixel_in_both: "raw: 1 frames are no image of the camera: [13]",
    another_image_of_the_camera: "clean: 1 frames differ from the raw frames",
    a_part_cut_off: "pixels are not in their part",
    a_part_missing: "cannot be opened",
    a_broken_line: "frames.jsonl:13",
    a_summary_with_other_counts: "recorded 20, the sidecar has 17",
    an_unconserved_summary: "do not add up",
    an_exit_code: "disk full",
    frames_nobody_recorded: "3 frames published and not recorded",
    no_summary: "summary.json is missing",
}


def test_a_whole_run_folder_passes(tools: SimpleNamespace, run_folder: Path) -> None:
    found = tools.soak_check.check_run(run_folder, seen=seen_in(tools, run_folder))
    assert found.problems == []
    raw = found.streams["raw"]
    assert (raw.frames, raw.missing, raw.images) == (17, {"camera": 3}, POOL)
    assert (raw.acknowledged, raw.acknowledged_lost) == (17, 0)
    assert len(found.streams["clean"].denoised_ns) == 17


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_found(
    tools: SimpleNamespace, run_folder: Path, damage: Callable[[Path], None]
) -> None:
    damage(run_folder)
    problems = tools.soak_check.check_run(run_folder).problems
    assert any(DAMAGES[damage] in problem for problem in problems), problems


def seen_in(tools: SimpleNamespace, run: Path) -> dict[str, Any]:
    return {
        stream: tools.soak_check.Seen(acknowledged=sidecar(run, stream).read_bytes())
        for stream in ("raw", "clean")
    }


def test_the_loss_of_acknowledged_frames_at_the_end_is_found(
    tools: SimpleNamespace, run_folder: Path
) -> None:
    seen = seen_in(tools, run_folder)
    put_lines(run_folder, lines_of(run_folder)[:-2])
    change_summary(run_folder, recorded=15)
    found = tools.soak_check.check_run(run_folder, seen=seen)
    assert found.problems == ["raw: 2 acknowledged frames lost"]
    assert found.streams["raw"].acknowledged_lost == 2


def test_an_acknowledged_line_that_was_rewritten_is_found(
    tools: SimpleNamespace, run_folder: Path
) -> None:
    seen = seen_in(tools, run_folder)
    lines = lines_of(run_folder)
    at = frame_index(run_folder, 3)
    put_lines(run_folder, [*lines[:at], lines[at].replace(b'"t_host_ns":4', b'"t_host_ns":5')])
    problems = tools.soak_check.check_run(run_folder, seen=seen).problems
    assert any("acknowledged frames lost" in problem for problem in problems)


def test_a_torn_last_line_was_never_acknowledged(tools: SimpleNamespace, run_folder: Path) -> None:
    tail = tools.soak_tail.Tail(sidecar(run_folder))
    whole = sidecar(run_folder).read_bytes()
    with sidecar(run_folder).open("ab") as file:
        file.write(b'{"kind":"frame","seq":20')
    tail.follow()
    assert tail.seen().acknowledged == whole
    # Its successor cuts it off and goes on.
    sidecar(run_folder).write_bytes(whole + b'{"kind":"stream","version":1,"resumed":true}\n')
    tail.follow()
    assert tail.seen().acknowledged == sidecar(run_folder).read_bytes()
    assert len(tail.resumed_ns) == 1


def test_a_recovered_run_must_say_so(tools: SimpleNamespace, run_folder: Path) -> None:
    check = tools.soak_check.check_run
    assert "summary: not marked as recovered" in check(run_folder, exit_code=None).problems
    change_summary(run_folder, recovered=True, streams=[{"lost": 0}])
    assert check(run_folder, exit_code=None).problems == []
    change_summary(run_folder, streams=[{"lost": 2}])
    assert check(run_folder, exit_code=None).problems == ["summary: recover found 2 frames lost"]
