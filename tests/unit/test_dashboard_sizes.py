"""At any size and for any snapshot: no error, no line too many, no line too wide."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from snapshot_kit import latency, preview, quality, snapshot, stage, stream

from livedenoise.core.status import Figure, Preview, StatusSnapshot
from livedenoise.quality.definitions import FIGURES
from livedenoise.view.layout import Choice, compose
from livedenoise.view.lines import Look

texts = st.text(max_size=40)
numbers = st.floats()
counts = st.integers(0, 2**40)
reasons = st.dictionaries(texts, counts, max_size=4)
figures = st.builds(Figure, value=st.none() | numbers, n=st.integers(0, 60))
qualities = st.none() | st.builds(
    quality,
    figures=st.dictionaries(st.sampled_from([*FIGURES, "unknown"]), figures),
    motion=st.booleans(),
    constants=texts,
)
previews = st.sampled_from(
    [
        None,
        preview(16),
        preview(96),
        Preview(seq=1, height=9, width=2, low_adu=0.0, high_adu=1.0, raw=bytes(18)),
        Preview(seq=1, height=4, width=4, low_adu=0.0, high_adu=1.0, raw=b"too short"),
        Preview(seq=1, height=0, width=0, low_adu=0.0, high_adu=0.0, raw=b""),
    ]
)
rows = st.builds(
    stage,
    st.sampled_from(["acquire", "denoise", "record", "view", "new"]),
    state=st.sampled_from(["starting", "running", "restarting", "finished", "dead"]),
    fps=numbers,
    mb_per_s=numbers,
    fill=numbers,
    queue=st.sampled_from(["", "ring", "backlog"]),
    count=counts,
    restarts=st.integers(0, 99),
    dropped=reasons,
)
curves = st.dictionaries(
    st.sampled_from(["fps_in", "fps_out", "latency_p50_ms", "signal_e", "ring_fill"]),
    st.lists(st.none() | numbers, max_size=130).map(tuple),
)
streams = st.builds(
    stream,
    camera=texts,
    engine=texts,
    note=texts,
    period_ms=numbers,
    captured=counts,
    fps_in=numbers,
    recent=st.none() | st.builds(latency, p50=numbers, p99=numbers, count=st.integers(0, 9)),
    dropped=reasons,
    stages=st.lists(rows, max_size=6).map(tuple),
    history=curves,
    quality=qualities,
    preview=previews,
)
snapshots = st.builds(
    snapshot,
    name=texts,
    state=texts,
    run_dir=texts,
    total_s=st.sampled_from([0.0, 30.0]),
    total_frames=st.sampled_from([0, 1000]),
    streams=st.lists(streams, max_size=3).map(tuple),
    errors=st.lists(texts, max_size=5).map(tuple),
    notes=st.lists(texts, max_size=5).map(tuple),
    alerts=st.lists(texts, max_size=12).map(tuple),
    recording=st.booleans(),
    recording_left_s=st.none() | numbers,
)
sizes = st.tuples(st.integers(20, 300), st.integers(5, 100))
looks = st.builds(
    Look,
    blocks=st.booleans(),
    pictures=st.sampled_from(["segments", "ansi", "ramp", "blank"]),
)
choices = st.builds(
    Choice,
    camera=st.integers(0, 9),
    help_page=st.sampled_from([0, 0, 0, 1, 7]),
    picture=st.sampled_from([None, True, False]),
    keys=st.booleans(),
)


def check(shown: StatusSnapshot, size: tuple[int, int], choice: Choice, look: Look) -> None:
    lines = compose(shown, size, choice, look)
    assert 1 <= len(lines) <= size[1]
    for content in lines:
        written = [segment for segment in content if not segment.control]
        assert sum(cell_len(segment.text) for segment in written) == size[0]
        assert all(segment.text.isprintable() for segment in written)


@settings(max_examples=60, deadline=None)
@given(snapshots, sizes, choices, looks)
def test_any_snapshot_fits_any_screen(
    shown: StatusSnapshot, size: tuple[int, int], choice: Choice, look: Look
) -> None:
    check(shown, size, choice, look)


@settings(max_examples=60, deadline=None)
@given(sizes, choices)
def test_a_common_run_fits_any_screen(size: tuple[int, int], choice: Choice) -> None:
    cameras: tuple[Any, ...] = (stream(), stream(camera="second"))
    alerts = ("one alert that is so long that it needs more than one line of a narrow screen",)
    check(snapshot(streams=cameras, alerts=alerts, errors=("disk full",)), size, choice, Look())
