"""Is a run folder whole after its processes were killed? Also alone: ``soak_check.py RUN``.

Knows: what a recording promises, its files as documented. Reads them with code of its own (no
``SidecarReader``), so that a fault of the product's reader cannot hide one of its writer. Must not
know: processes, blows, how findings are shown.

Promises checked for each recorded stream: every sidecar line ever seen whole is still there, byte
for byte; every number is a frame or in a gap, exactly once and in order; the pixels of every frame
line lie in its part file; each raw image is one of the images the simulated camera repeats; a
passed-through frame, and with the identity engine every denoised one, equals the raw frame of its
number. Then the summary: exit code, conservation, and its counts against the lines.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import tifffile
from soak_images import check_images
from soak_recording import Recording, part_path, read_recording

from livedenoise.core.config import parse_config
from livedenoise.core.frame import FrameFlags

_NAMED = 5
"""Numbers named in one message: a broken run has thousands."""


class StreamCheck(msgspec.Struct, kw_only=True):
    """What one stream holds, and what is wrong with it.

    ``acknowledged`` are the frame lines seen whole while the run went on, ``acknowledged_lost``
    those of them that are gone. ``resumed`` counts successors, ``by_successors`` the frames they
    wrote, ``rescued`` those of these that were captured before their successor was at work.
    ``denoised_ns`` holds (t_host_ns, t_publish_ns) of the denoised frames.
    """

    stream: str
    frames: int = 0
    missing: dict[str, int] = {}
    acknowledged: int = 0
    acknowledged_lost: int = 0
    resumed: int = 0
    by_successors: int = 0
    rescued: int = 0
    images: int = 0
    denoised_ns: list[tuple[int, int]] = []
    problems: list[str] = []


class RunCheck(msgspec.Struct, kw_only=True):
    """What a run folder holds; ``problems`` is empty when every promise was kept."""

    run_dir: str
    streams: dict[str, StreamCheck]
    problems: list[str]


class Seen(msgspec.Struct, kw_only=True):
    """What was seen of one sidecar while the run went on.

    ``acknowledged`` is all of it up to the last whole line; ``resumed_ns`` when each successor's
    first line was seen.
    """

    acknowledged: bytes = b""
    resumed_ns: list[int] = []


def check_run(
    run: Path,
    *,
    seen: Mapping[str, Seen] | None = None,
    exit_code: int | None = 0,
) -> RunCheck:
    """Check one run folder.

    Parameters
    ----------
    seen : mapping, optional
        By stream ("raw", "clean"): what was acknowledged while it was written.
    exit_code : int or None
        What the daemon ended with; None when it was killed and the run recovered.
    """
    config = parse_config(msgspec.json.decode((run / "config.json").read_bytes()), "config.json")
    wanted = {"raw": config.record.raw, "clean": config.record.clean and config.denoise.enabled}
    recordings = {
        stream: read_recording(run / stream / config.camera[0].name)
        for stream, recorded in wanted.items()
        if recorded
    }
    streams = {
        stream: check_stream(stream, recording, (seen or {}).get(stream, Seen()))
        for stream, recording in recordings.items()
    }
    for stream, images in check_images(config, recordings).items():
        streams[stream].images = images.different
        streams[stream].problems += images.problems
    problems = [
        f"{stream}: {problem}" for stream, check in streams.items() for problem in check.problems
    ]
    problems += check_summary(run, streams, exit_code)
    return RunCheck(run_dir=str(run), streams=streams, problems=problems)


def check_stream(stream: str, recording: Recording, seen: Seen) -> StreamCheck:
    """Check the lines of one stream: numbers, acknowledged lines, places of the pixels."""
    missing: Counter[str] = Counter()
    for gap in recording.gaps:
        missing[gap["reason"]] += gap["last"] - gap["first"] + 1
    acknowledged = _frame_lines(seen.acknowledged)
    lost = len(acknowledged - _frame_lines(recording.content))
    problems = [*recording.problems, *numbering_problems(recording)]
    if lost:
        problems.append(f"{lost} acknowledged frames lost")
    elif not recording.content.startswith(seen.acknowledged):
        problems.append("the sidecar no longer begins with the lines seen during the run")
    resumed, by_successors, rescued = _inherited(recording.lines, seen.resumed_ns)
    return StreamCheck(
        stream=stream,
        frames=len(recording.frames),
        missing=dict(missing),
        acknowledged=len(acknowledged),
        acknowledged_lost=lost,
        resumed=resumed,
        by_successors=by_successors,
        rescued=rescued,
        denoised_ns=[
            (line["t_host_ns"], line.get("t_publish_ns", 0))
            for line in recording.frames
            if line.get("flags", 0) & FrameFlags.DENOISED
        ],
        problems=[*problems, *page_problems(recording)],
    )


def numbering_problems(recording: Recording) -> list[str]:
    """Check that frames and gaps cover every number from 0 exactly once, frames in order."""
    problems = []
    frames = [line["seq"] for line in recording.frames]
    if any(after <= before for before, after in pairwise(frames)):
        problems.append("frames are not in ascending order")
    gaps = [(line["first"], line["last"]) for line in recording.gaps]
    covered = sorted([*((seq, seq) for seq in frames), *gaps])
    expected, twice, never = 0, [], []
    for first, last in covered:
        if first < expected:
            twice.append(first)
        elif first > expected:
            never.append(f"{expected}-{first - 1}" if first - 1 > expected else str(expected))
        expected = max(expected, last + 1)
    if twice:
        problems.append(f"{len(twice)} numbers are there twice: {twice[:_NAMED]}")
    if never:
        problems.append(f"numbers neither frame nor gap: {', '.join(never[:_NAMED])}")
    return problems


def page_problems(recording: Recording) -> list[str]:
    """Check that each part is a TIFF with at least as many pages as it has frame lines."""
    problems = []
    for part, lines in sorted(Counter(line["part"] for line in recording.frames).items()):
        path = part_path(recording.folder, part)
        try:
            with tifffile.TiffFile(path) as tiff:
                pages = len(tiff.pages)
        except (OSError, tifffile.TiffFileError) as error:
            problems.append(f"{path.name}: cannot be opened: {error}")
            continue
        if pages < lines:
            problems.append(f"{path.name}: {pages} pages for {lines} frame lines")
    return problems


def check_summary(
    run: Path,
    streams: Mapping[str, StreamCheck],
    exit_code: int | None,
) -> list[str]:
    """Return what the summary says that the files do not, and what it admits to be wrong."""
    path = run / "summary.json"
    if not path.is_file():
        return ["summary.json is missing"]
    summary = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    problems = []
    for key, stream in (("recorded", "raw"), ("recorded_clean", "clean")):
        lines = streams[stream].frames if stream in streams else 0
        if summary.get(key) != lines:
            problems.append(f"summary: {key} {summary.get(key)}, the sidecar has {lines} frames")
    if exit_code is None:
        lost = sum(stream.get("lost", 0) for stream in summary.get("streams", ()))
        problems += ["summary: not marked as recovered"] if not summary.get("recovered") else []
        return problems + ([f"summary: recover found {lost} frames lost"] if lost else [])
    if exit_code or summary["exit_code"]:
        problems.append(
            f"exit code {exit_code}, summary {summary['exit_code']}: {summary['errors']}"
        )
    if not summary["conserved"]:
        problems.append("summary: the counts of frames do not add up")
    untold = sum(summary["dropped"].get("record", {}).values())
    if untold:
        problems.append(f"summary: {untold} frames published and not recorded")
    return problems


def _inherited(lines: Sequence[dict[str, Any]], resumed_ns: Sequence[int]) -> tuple[int, int, int]:
    """Return the successors, the frames they wrote, and those captured before each was at work."""
    resumed = by_successors = rescued = 0
    at_work_ns = 0
    for line in lines:
        if line["kind"] == "stream" and line.get("resumed"):
            at_work_ns = resumed_ns[resumed] if resumed < len(resumed_ns) else 0
            resumed += 1
        elif line["kind"] == "frame" and resumed:
            by_successors += 1
            rescued += line["t_host_ns"] < at_work_ns
    return resumed, by_successors, rescued


def _frame_lines(content: bytes) -> set[bytes]:
    return set(_whole_frame_lines(content))


def _whole_frame_lines(content: bytes) -> Iterator[bytes]:
    for text in content[: content.rfind(b"\n") + 1].splitlines():
        if text.startswith(b'{"kind":"frame"'):
            yield text


def main() -> int:
    """Check the run folder named on the command line; 1 when it is not whole."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that has ended")
    parser.add_argument("--recovered", action="store_true", help="its daemon was killed")
    arguments = parser.parse_args()
    found = check_run(
        arguments.run,
        exit_code=None if arguments.recovered else 0,
    )
    for check in found.streams.values():
        print(f"{check.stream}: {check.frames} frames, missing {check.missing or 'none'}")
    for problem in found.problems:
        print(f"WRONG {problem}")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
