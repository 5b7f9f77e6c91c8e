"""What is wrong right now, in words, each with its mend. Pure: two snapshots in, texts out.

An alert holds while its cause does and goes away when it is mended; what happened once and stays
true is an error or a note, not an alert. ``previous`` is the snapshot of about ten seconds ago:
what counts is what was added since. Must not know: stages, clocks, terminals.
"""

from __future__ import annotations

from collections.abc import Iterator

from livedenoise.core.status import QualityStatus, StageStatus, StatusSnapshot, StreamStatus
from livedenoise.daemon.camera_counters import losses_since

RECENT_S = 10
"""Age of ``previous`` in seconds, the meaning of "recent" in every text."""
_LITTLE_DISK_S = 600.0
_HIGH_RING = 0.8
_SATURATED_FRAMES = 0.01
_SATURATED_PIXELS = 1e-3
_SKIPPED = 0.05
_LATE_PERIODS = 2
_LATE_SAMPLES = 20
_NOISE_RATIO = (0.8, 1.25)
_RESIDUAL_CORR = 0.05
"""Well above what ``quality.definitions`` calls structure (about 0.02)."""

_LOSS_MENDS = {
    "ring_full": "the recorder is behind: faster disk, smaller ROI or larger ring.memory_mb",
    "camera": "lost before us: close other programs, lower the frame rate, check the cable",
}
_STAGE_MENDS = {
    "acquire": "check camera and cable",
    "denoise": "raw recording goes on; see its log",
    "record": "raw frames are NOT saved: see its log, check the disk",
    "record-clean": "raw recording goes on; see its log, check the disk",
}


def alerts(snapshot: StatusSnapshot, previous: StatusSnapshot | None) -> tuple[str, ...]:
    """Return what is wrong now, most serious first within each camera.

    Parameters
    ----------
    snapshot, previous : StatusSnapshot
        Now, and about ``RECENT_S`` ago; None in the first seconds of a run, when everything so far
        is recent.
    """
    found = [*_disk(snapshot)]
    before = {} if previous is None else {s.camera: s for s in previous.streams}
    for stream in snapshot.streams:
        texts = _stream(stream, before.get(stream.camera), snapshot.state)
        found += [f"{stream.camera}: {text}" for text in texts]
    return tuple(found)


def _disk(snapshot: StatusSnapshot) -> Iterator[str]:
    left_s = snapshot.recording_left_s
    if left_s is None or not snapshot.recording:
        return
    planned_s = _planned_left_s(snapshot)
    needed_s = _LITTLE_DISK_S if planned_s is None else planned_s
    if left_s < needed_s:
        more = "" if planned_s is None else f", {planned_s / 60:.1f} min are planned"
        yield f"disk full in {left_s / 60:.1f} min{more}: free space or stop earlier"


def _planned_left_s(snapshot: StatusSnapshot) -> float | None:
    """Return how long the run will go on, None for until stopped."""
    if snapshot.total_s:
        return max(0.0, snapshot.total_s - snapshot.elapsed_s)
    rates = [stream.fps_in for stream in snapshot.streams]
    if not snapshot.total_frames or not rates or min(rates) <= 0:
        return None
    return max((snapshot.total_frames - s.captured) / s.fps_in for s in snapshot.streams)


def _stream(stream: StreamStatus, before: StreamStatus | None, state: str) -> Iterator[str]:
    yield from _stages(stream)
    yield from _losses(stream, before)
    yield from _load(stream, before, state)
    yield from _light(stream, before)
    if stream.quality is not None:
        yield from _quality(stream.quality)


def _stages(stream: StreamStatus) -> Iterator[str]:
    for stage in stream.stages:
        mend = _STAGE_MENDS.get(stage.kind, "the run goes on without it; see its log")
        if stage.state == "dead":
            yield f"{stage.kind} is dead{_restarts(stage)}: {mend}"
        elif stage.state == "restarting":
            yield f"{stage.kind} is being replaced{_restarts(stage)}: wait, or see its log"


def _restarts(stage: StageStatus) -> str:
    times = "restart" if stage.restarts == 1 else "restarts"
    return f" after {stage.restarts} {times}" if stage.restarts else ""


def _losses(stream: StreamStatus, before: StreamStatus | None) -> Iterator[str]:
    old = {} if before is None else {"camera": before.lost_at_camera, **before.dropped}
    for reason, count in {"camera": stream.lost_at_camera, **stream.dropped}.items():
        lost = count - old.get(reason, 0)
        if lost > 0:
            mend = _LOSS_MENDS.get(reason, "see docs/live.md")
            if reason == "camera" and _camera_replaced(stream, before):
                mend = "exposed while the camera's process was replaced"
            frames = "frame" if lost == 1 else "frames"
            yield f"{lost} {frames} lost in the last {RECENT_S} s ({reason}): {mend}"
    counted = losses_since(stream.counters, {} if before is None else before.counters)
    yield from (f"in the last {RECENT_S} s: {text}" for text in counted)


def _camera_replaced(stream: StreamStatus, before: StreamStatus | None) -> bool:
    then = () if before is None else before.stages
    now, old = (
        sum(stage.restarts for stage in stages if stage.kind == "acquire")
        for stages in (stream.stages, then)
    )
    return now > old


def _load(stream: StreamStatus, before: StreamStatus | None, state: str) -> Iterator[str]:
    if stream.ring_fill > _HIGH_RING:
        yield f"raw ring {stream.ring_fill:.0%} full: the recorder is behind, frames may be lost"
    skipped, done = stream.skipped, stream.denoised + stream.passthrough
    if before is not None:
        skipped -= before.skipped
        done -= before.denoised + before.passthrough
    if skipped > _SKIPPED * (skipped + done):
        share = skipped / (skipped + done)
        yield f"denoiser skips {share:.0%} of the frames: smaller ROI, lower rate, or predict later"
    recent, limit_ms = stream.recent, _LATE_PERIODS * stream.period_ms
    if state != "running" or not limit_ms or recent is None or recent.count < _LATE_SAMPLES:
        return
    if recent.p99 > limit_ms:
        yield (
            f"late: p99 latency {recent.p99:.1f} ms, {_LATE_PERIODS} periods are "
            f"{limit_ms:.1f} ms: smaller ROI, lower rate or free the processor"
        )


def _light(stream: StreamStatus, before: StreamStatus | None) -> Iterator[str]:
    frames, saturated = stream.captured, stream.saturated
    if before is not None:
        frames, saturated = frames - before.captured, saturated - before.saturated
    pixels = _value(stream.quality, "saturated_fraction")
    if pixels is not None:
        # Where the share is known a few stuck pixels, in every frame, are no reason for alarm.
        if pixels > _SATURATED_PIXELS:
            yield f"{pixels:.1%} of the pixels are saturated: less light or shorter exposure"
    elif frames > 0 and saturated > _SATURATED_FRAMES * frames:
        share = saturated / frames
        yield f"saturated pixels in {share:.0%} of the frames: less light or shorter exposure"


def _quality(quality: QualityStatus) -> Iterator[str]:
    if quality.motion:
        # Figures that compare frames say nothing while the scene moves.
        return
    ratio = _value(quality, "noise_ratio")
    low, high = _NOISE_RATIO
    if ratio is not None and not low <= ratio <= high:
        yield f"measured noise is {ratio:.2f} x the expected: wrong camera constants? calibrate"
    corr = _value(quality, "residual_corr")
    if corr is not None and corr > _RESIDUAL_CORR:
        yield f"residual correlation {corr:.2f}: the denoiser may remove signal; another model?"


def _value(quality: QualityStatus | None, key: str) -> float | None:
    figure = None if quality is None else quality.figures.get(key)
    return None if figure is None else figure.value
