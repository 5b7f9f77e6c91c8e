"""The panels of the dashboard: each turns a part of a snapshot into lines of a given width. Pure.

Colours mean: red, something is lost or dead; yellow, look at it; green, good; grey, do not trust it
now. Must not know: the height of the screen, which panels are shown together.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from livedenoise.core.metrics import LatencySummary
from livedenoise.core.status import StatusSnapshot, StreamStatus
from livedenoise.view.lines import (
    GAP,
    STATE_STYLES,
    Line,
    Look,
    bar,
    clipped,
    flow,
    left,
    line,
    printable,
    right,
    rule,
    width_of,
    wrapped,
)
from livedenoise.view.numbers_text import MISSING, duration, number, size_of
from livedenoise.view.sparkline import Keep, Sparkline, sparkline

_LATE_PERIODS = 2
_LITTLE_DISK_S = 600.0
_CURVE_TEXT = 26
"""Columns of name, range and unit beside a curve of one line."""
_HOP_TEXT = {
    "camera_to_ring": "camera to ring",
    "ring_to_engine": "ring to engine",
    "inference": "inference",
    "publish": "publish",
    "camera_to_denoised": "whole way",
}
_CURVES: tuple[tuple[str, str, str, Keep], ...] = (
    ("fps_in", "fps in", "", "low"),
    ("fps_out", "fps out", "", "low"),
    ("latency_p50_ms", "latency", "ms", "high"),
    ("signal_e", "signal", "e-", "high"),
    ("ring_fill", "raw ring", "%", "high"),
)


def header(snapshot: StatusSnapshot, width: int, look: Look) -> Line:
    """Name, state and progress."""
    state = snapshot.state
    head = line(
        ("livedenoise ", "label"),
        (printable(snapshot.name), "title"),
        "  ",
        (printable(state), STATE_STYLES.get(state, "warn")),
        "  ",
    )
    share, text = _progress(snapshot)
    room = width - width_of(head) - len(text) - 1
    if share is not None and room >= 6:
        head += line((bar(share, room, blocks=look.blocks), "good"), " ")
    return [*head, *line(text)]


def recording_lines(snapshot: StatusSnapshot, width: int) -> list[Line]:
    """Whether raw frames are recorded, how long the disk lasts, and how much is free."""
    return flow(list(_recording(snapshot)), width)


def _progress(snapshot: StatusSnapshot) -> tuple[float | None, str]:
    """Return the share done, None when it has no end, and its text."""
    elapsed = duration(snapshot.elapsed_s)
    if snapshot.total_s:
        text = f"{elapsed} of {duration(snapshot.total_s)}"
        return snapshot.elapsed_s / snapshot.total_s, text
    if snapshot.total_frames and snapshot.streams:
        done = min(stream.captured for stream in snapshot.streams)
        rate = min(stream.fps_in for stream in snapshot.streams)
        text = f"{done} of {snapshot.total_frames} frames"
        if rate > 0:
            text += f", {duration((snapshot.total_frames - done) / rate)} left"
        return done / snapshot.total_frames, text
    return None, f"{elapsed}, until Ctrl-C"


def _recording(snapshot: StatusSnapshot) -> Iterator[Line]:
    if not snapshot.recording:
        yield line(("NOT RECORDING raw frames", "warn"))
        return
    yield line(("recording", "good"))
    left_s, free = snapshot.recording_left_s, snapshot.disk_free_bytes
    if left_s is not None:
        style = "warn" if left_s < _LITTLE_DISK_S else "value"
        yield line(("disk lasts ", "label"), (duration(left_s), style))
    if free is not None:
        yield line(("free ", "label"), (size_of(free), "value"))


def alert_lines(snapshot: StatusSnapshot, width: int, most: int) -> list[Line]:
    """Alerts in red, at most ``most`` lines; the last one says how many more there are."""
    texts = snapshot.alerts
    if len(texts) > most:
        shown = texts[: max(0, most - 1)]
        more = f"! {len(texts) - len(shown)} more alerts"
        texts = (*shown, more.removeprefix("! "))
    spare = max(1, most // max(1, len(texts)))
    return [part for text in texts for part in wrapped(f"! {text}", width, "bad", spare)]


def message_lines(snapshot: StatusSnapshot, width: int, most: int) -> list[Line]:
    """Return the newest errors and notes, at most ``most`` lines."""
    errors = [("! ", "bad", text) for text in snapshot.errors]
    notes = [("- ", "label", text) for text in snapshot.notes]
    notes += [("- ", "warn", f"{s.camera}: {s.note}") for s in snapshot.streams if s.note]
    chosen = errors[-most:]
    chosen += notes[-(most - len(chosen)) :] if most > len(chosen) else []
    spare = max(1, most // max(1, len(chosen)))
    return [
        part for mark, style, text in chosen for part in wrapped(mark + text, width, style, spare)
    ]


def camera_rows(snapshot: StatusSnapshot, selected: int, look: Look) -> list[Line]:
    """Several cameras, one compact row each; the selected one is marked."""
    titles = (left("  camera", 18), right("in fps", 8), right("out", 8), right("p99 ms", 9))
    head = line(("".join(titles) + right("lost", 8) + right("skipped", 9) + "  engine", "label"))
    return [head, *(_camera_row(s, i == selected, look) for i, s in enumerate(snapshot.streams))]


def _camera_row(stream: StreamStatus, selected: bool, look: Look) -> Line:
    latency = stream.recent or stream.latency
    lost = lost_frames(stream)
    mark = (("▸ " if look.blocks else "> ") if selected else "  ", "name")
    return line(
        mark,
        (left(printable(stream.camera), 16, blocks=look.blocks), "name" if selected else ""),
        right(f"{stream.fps_in:.1f}", 8),
        right(f"{stream.fps_out:.1f}", 8),
        (right(f"{latency.p99:.1f}", 9), _late(latency, stream.period_ms)),
        (right(str(lost), 8), "bad" if lost else "good"),
        (right(str(stream.skipped), 9), "warn" if stream.skipped else ""),
        "  " + printable(stream.engine),
    )


def lost_frames(stream: StreamStatus) -> int:
    """Return the raw frames lost: by the camera, and at the ring."""
    return stream.lost_at_camera + sum(stream.dropped.values())


def stream_rule(stream: StreamStatus, width: int, look: Look) -> Line:
    """Camera, frame size, type and engine."""
    shape, dtype = f"{stream.shape[1]}x{stream.shape[0]}", _dtype_name(stream.dtype)
    title = line(
        (printable(stream.camera), "name"),
        f"  {shape} {dtype}",
        ("  engine ", "label"),
        (printable(stream.engine), "bad" if stream.engine == "dead" else ""),
    )
    return rule(title, width, blocks=look.blocks)


def _dtype_name(dtype: str) -> str:
    return {"<u2": "uint16", "|u1": "uint8", "<f4": "float32"}.get(dtype, printable(dtype))


def latency_lines(stream: StreamStatus, width: int) -> list[Line]:
    """Latency from the camera to the denoised frame, against the frame period."""
    cells = [line(("latency", "label"))]
    recent, whole = stream.recent, stream.latency
    if recent is not None and recent.count:
        cells.append(_percentiles("10 s", recent, stream.period_ms))
    if whole.count:
        run = _percentiles("run", whole, stream.period_ms)
        cells.append([*run, *line((" max ", "label"), f"{whole.max:.1f}")])
    else:
        cells.append(line(MISSING))
    if stream.period_ms:
        cells.append(line(("period ", "label"), f"{number(stream.period_ms)} ms"))
    return flow(cells, width)


def _percentiles(label: str, latency: LatencySummary, period_ms: float) -> Line:
    return line(
        (f"{label} p50 ", "label"),
        (f"{latency.p50:.1f}", "value"),
        (" p99 ", "label"),
        (f"{latency.p99:.1f}", _late(latency, period_ms) or "value"),
    )


def _late(latency: LatencySummary, period_ms: float) -> str:
    if not period_ms or not latency.count:
        return ""
    return "warn" if latency.p99 > _LATE_PERIODS * period_ms else "good"


def totals_lines(stream: StreamStatus, width: int) -> list[Line]:
    """Frames lost, skipped and passed through; saturated frames and clipped pixels."""
    lost, passed = lost_frames(stream), stream.passthrough
    cells = [
        _total("lost", lost, "bad" if lost else "good"),
        _total("skipped", stream.skipped, "warn" if stream.skipped else "value"),
        _total("passed through", passed, "warn" if passed else "value"),
        _total("saturated frames", stream.saturated, "warn" if stream.saturated else "value"),
        _total("clipped px", stream.clipped_pixels),
    ]
    return flow(cells, width)


def _total(label: str, count: int, style: str = "value") -> Line:
    return line((f"{label} ", "label"), (str(count), style))


def curve_lines(stream: StreamStatus, width: int, look: Look, rows: int = 1) -> list[Line]:
    """Return the last two minutes of rates, latency, signal and ring, each with its range.

    With ``rows`` above 1 each curve is so many lines high, below a line that names it.
    """
    lines: list[Line] = []
    for name, label, unit, keep in _CURVES:
        values = stream.history.get(name, ())
        known = [value if value is not None and isfinite(value) else None for value in values]
        if all(value is None for value in known):
            continue
        if unit == "%":
            known = [None if value is None else 100 * value for value in known]
        room = max(1, width if rows > 1 else width - _CURVE_TEXT)
        scale = (0.0, 100.0) if unit == "%" else None
        curve = sparkline(known, room, rows=rows, keep=keep, scale=scale, blocks=look.blocks)
        lines += _tall(curve, label, unit) if rows > 1 else [_flat(curve, label, unit)]
    return lines


def _flat(curve: Sparkline, label: str, unit: str) -> Line:
    return line(
        (left(label, 9), "label"),
        right(number(curve.low), 6) + " ",
        (curve.text, "curve"),
        " " + left(number(curve.high), 7),
        (left(unit, 2), "label"),
    )


def _tall(curve: Sparkline, label: str, unit: str) -> list[Line]:
    scale = f"{number(curve.low)} to {number(curve.high)} {unit}"
    return [line((left(label, 9), "label"), scale), *(line((row, "curve")) for row in curve.rows)]


def hop_lines(stream: StreamStatus, width: int) -> list[Line]:
    """Latency of every hop over the whole run."""
    if width < 50 or not stream.hops:
        return []
    titles = "".join(right(name, 9) for name in ("p50", "p99", "p99.9", "max"))
    lines = [line((left("hop, ms, whole run", 20) + titles, "label"))]
    for hop, text in _HOP_TEXT.items():
        found = stream.hops.get(hop)
        if found is not None and found.count:
            values = (found.p50, found.p99, found.p999, found.max)
            lines.append(
                line((left(text, 20), "label"), "".join(right(f"{v:.2f}", 9) for v in values))
            )
    return lines


def footer(snapshot: StatusSnapshot, width: int, keys: str) -> Line:
    """Keys, and where the run is recorded."""
    folder = f"run folder {printable(snapshot.run_dir)}" if snapshot.run_dir else ""
    room = width - len(keys) - (GAP if keys else 0)
    shown = clipped(folder, room) if room > 20 else ""
    gap = " " * max(0, width - len(keys) - len(shown)) if keys else ""
    return line((keys, "label"), gap, (shown, "label"))
