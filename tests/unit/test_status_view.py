"""What the dashboard says: a pure function of a snapshot and a size."""

from __future__ import annotations

import io
from math import inf, nan

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console
from snapshot_kit import latency, quality, snapshot, stage, stages, stream, text_of

from livedenoise.core.status import Figure, StatusSnapshot
from livedenoise.quality.definitions import FIGURES
from livedenoise.view.layout import Choice, compose, render
from livedenoise.view.lines import STYLES, Line, Look, bar

SMALL, LARGE = (80, 24), (200, 60)


def words(shown: StatusSnapshot, size: tuple[int, int] = SMALL, **choice: object) -> str:
    """All text with single spaces: what is said, not where."""
    return " ".join(" ".join(text_of(shown, *size, **choice)).split())


def style_of(shown: StatusSnapshot, text: str, size: tuple[int, int] = SMALL) -> str:
    """Return the style of the first piece that contains ``text``."""
    lines = compose(shown, size, Choice(), Look())
    found = next(s for content in lines for s in content if text in s.text)
    return next(name for name, style in STYLES.items() if style == found.style)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(
    "said",
    [
        "livedenoise rig running",
        "12.3 s of 30.0 s",
        "recording disk lasts 1 h 23 min free 58.3 GB",
        "sim 640x480 uint16 engine openvino fp32 realtime-m",
        "acquire running 50.0 26.2 ring",
        "25% 1234 --",
        "denoise running 50.0 26.2 backlog",
        "33% 1200 34 backlog",
        "record-clean running",
        "10 s p50 13.1 p99 28.4",
        "run p50 14.2 p99 31.5 max 41.0",
        "period 20.0 ms",
        "lost 0 skipped 34 passed through 0 saturated frames 0 clipped px 0",
        "constants: camera",
        f"{FIGURES['signal_e'].label} 11.8 e-/px",
        f"{FIGURES['snr_db'].label} 9.6 dB",
        f"{FIGURES['saturated_fraction'].label} 0",
        f"{FIGURES['gain_db'].label} 8.7 dB",
        "fps in 40.0",
        "run folder runs/x",
    ],
)
def test_a_small_and_a_large_screen_say_the_same_essentials(
    said: str, size: tuple[int, int]
) -> None:
    assert said in words(snapshot(), size)


@pytest.mark.parametrize("key", FIGURES)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_every_figure_is_on_a_healthy_screen(key: str, size: tuple[int, int]) -> None:
    assert FIGURES[key].label in words(snapshot(), size)


def test_a_large_screen_has_hops_and_two_pictures_side_by_side() -> None:
    lines = text_of(snapshot(), *LARGE)
    assert any("camera to ring" in text for text in lines)
    head = next(text for text in lines if "raw, frame 1233" in text)
    assert "denoised, 98 to 340 counts" in head
    drawn = compose(snapshot(), LARGE, Choice(), Look())
    rows = [content for content in drawn if any("▀" in segment.text for segment in content)]
    assert len(rows) > 30


def test_alerts_come_first_and_are_red() -> None:
    shown = snapshot(alerts=("sim: 3 frames lost in the last 10 s (ring_full): faster disk",))
    assert text_of(shown)[2].startswith("! sim: 3 frames lost")
    assert style_of(shown, "3 frames lost") == "bad"


def test_too_many_alerts_are_counted() -> None:
    shown = snapshot(alerts=tuple(f"number {i}" for i in range(9)))
    text = "\n".join(text_of(shown))
    assert "! number 0" in text
    assert "6 more alerts" in text


def test_losses_of_the_camera_and_of_the_ring_are_added_and_red() -> None:
    row = stage("acquire", dropped={"ring_full": 4, "camera": 3})
    lossy = stream(lost_at_camera=3, dropped={"ring_full": 4}, stages=(row, *stages()[1:]))
    shown = snapshot(streams=(lossy,))
    assert "lost 7" in words(shown)
    assert "4 ring_full, 3 camera" in words(shown)
    assert style_of(shown, "4 ring_full, 3 camera") == "bad"


def test_reasons_that_do_not_fit_their_column_are_told_in_full_below() -> None:
    dropped = {"backlog": 30, "overwritten": 4, "clean_ring_full": 5}
    rows = (stage("denoise", dropped=dropped, restarts=2, state="restarting"),)
    text = words(snapshot(streams=(stream(stages=rows),)))
    assert "denoise restarting" in text
    assert "39 below" in text
    assert "denoise: 30 backlog, 4 overwritten, 5 clean_ring_full, 2 restarts" in text


@pytest.mark.parametrize(("p99", "style"), [(39.9, "good"), (40.1, "warn")])
def test_latency_is_yellow_beyond_two_periods(p99: float, style: str) -> None:
    late = stream(recent=latency(p99=p99), latency=latency(p99=1.0))
    assert style_of(snapshot(streams=(late,)), f"{p99:.1f}") == style


def test_figures_that_compare_frames_are_grey_with_the_word_motion_while_it_moves() -> None:
    shown = snapshot(streams=(stream(quality=quality(motion=True)),))
    text = words(shown)
    assert "the scene moves" in text
    assert style_of(shown, "8.7") == "grey"
    assert "8.7 dB motion" in text
    assert style_of(shown, "11.8") == "value"
    assert "11.8 e-/px" in text
    assert text.count("motion") == sum(d.compares_frames for d in FIGURES.values())
    assert "motion" not in words(snapshot())


def test_a_figure_without_enough_samples_says_how_many_it_has() -> None:
    figures = {"signal_e": Figure(n=11), "snr_db": Figure(n=50)}
    text = words(snapshot(streams=(stream(quality=quality(figures=figures)),)))
    assert "signal -- (11 of 20)" in text
    assert "(50 of 20)" not in text


def test_a_figure_that_motion_never_allowed_says_motion_not_samples() -> None:
    figures = {key: Figure(n=0) for key in FIGURES}
    text = words(snapshot(streams=(stream(quality=quality(figures=figures, motion=True)),)))
    assert f"{FIGURES['gain_db'].label} -- motion" in text
    assert f"{FIGURES['signal_e'].label} -- (0 of 20)" in text


@pytest.mark.parametrize(
    ("fraction", "filled"),
    [(0.0, 0), (1e-9, 1), (0.5, 5), (1.0, 10), (7.0, 10), (-1.0, 0), (nan, 0), (inf, 10)],
)
def test_bars_show_any_number(fraction: float, filled: int) -> None:
    assert bar(fraction, 10) == "━" * filled + "─" * (10 - filled)


def test_nothing_measured_is_said() -> None:
    bare = stream(quality=None, preview=None, history={}, hops={}, recent=None, stages=())
    assert "quality is not measured" in words(snapshot(streams=(bare,)))
    assert "no camera constants" in words(
        snapshot(streams=(stream(quality=quality(constants="")),))
    )


def test_a_run_that_is_not_recorded_says_so() -> None:
    shown = snapshot(recording=False, recording_left_s=None, disk_free_bytes=None)
    assert "NOT RECORDING" in words(shown)
    assert "disk lasts" not in words(shown)


def test_frames_left_are_estimated_from_the_rate() -> None:
    text = words(snapshot(total_s=0.0, total_frames=2000))
    assert "1234 of 2000 frames, 15.3 s left" in text
    assert "until Ctrl-C" in words(snapshot(total_s=0.0))


def test_errors_and_notes_are_shown_errors_first() -> None:
    notes = tuple(f"note {i}" for i in range(9))
    lines = text_of(snapshot(errors=("disk full",), notes=notes))
    assert "! disk full" in lines[-4]
    assert "- note 8" in lines[-2]


def test_several_cameras_have_a_row_each_and_one_is_shown_in_detail() -> None:
    many = tuple(stream(camera=name, engine=f"engine-{name}") for name in ("left", "right", "top"))
    lines = text_of(snapshot(streams=many), keys=True, camera=1)
    rows = [text for text in lines if "engine-" in text]
    assert [text.split()[0] for text in rows[:3]] == ["left", "▸", "top"]
    assert "right" in rows[3]
    assert "tab camera" in lines[-1]


def test_names_from_outside_cannot_move_the_cursor() -> None:
    evil = "a\x1b[2Jb\nc"
    shown = snapshot(
        name=evil,
        errors=(evil,),
        alerts=(evil,),
        run_dir=evil,
        streams=(stream(camera=evil, engine=evil),),
    )
    assert "\x1b" not in "".join(text_of(shown))
    assert len(text_of(shown)) <= 24


def test_a_console_without_unicode_gets_ascii() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(width=200, file=file, color_system=None, _environ={})
    console.print(render(snapshot(), LARGE), end="")
    file.flush()
    assert b"rig" in raw.getvalue()


def test_help_defines_every_figure_and_fits() -> None:
    pages = [text_of(snapshot(), *SMALL, help_page=page) for page in range(1, 10)]
    said = " ".join(" ".join(text for page in pages for text in page).split())
    for definition in FIGURES.values():
        assert definition.label in said
        assert definition.definition.split(".")[0][:50] in said
    assert all(len(page) <= 24 for page in pages)
    assert "tab" in said


def test_help_says_what_ctrl_c_does_to_the_run() -> None:
    assert "the run goes on" in words(snapshot(), help_page=1, quit_key=True)
    assert "finish the frames under way and stop" in words(snapshot(), help_page=1)


def widths(lines: list[Line]) -> set[int]:
    return {sum(cell_len(segment.text) for segment in content) for content in lines}


def test_the_same_snapshot_gives_the_same_lines() -> None:
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot()), type=StatusSnapshot)
    first = compose(snapshot(), LARGE, Choice(), Look())
    assert first == compose(decoded, LARGE, Choice(), Look())
    assert widths(first) == {200}
