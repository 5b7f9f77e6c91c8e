"""The dashboard on a terminal: screen, keys, sizes, and what is left behind."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
from rich.console import Console
from snapshot_kit import snapshot, stream

from livedenoise.view.dashboard import Dashboard, chosen
from livedenoise.view.help import help_pages
from livedenoise.view.keys import Keys
from livedenoise.view.layout import Choice, compose, picture_shown
from livedenoise.view.lines import Look
from livedenoise.view.picture import grey_picture, picture_lines

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
SMALL, LARGE = (80, 24), (200, 60)
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")


def terminal(size: tuple[int, int] = SMALL) -> Console:
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        width=size[0],
        height=size[1],
        legacy_windows=False,
        _environ={},
    )
    console.size = size  # type: ignore[assignment]
    return console


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_alternate_screen_is_left_with_the_last_state_on_the_first() -> None:
    console = terminal()
    with Dashboard(console) as dashboard:
        dashboard.show(snapshot())
        dashboard.show(snapshot(state="draining"))
    before, after = written(console).split(LEAVE)
    assert before.count(ENTER) == 1
    assert HIDE in before
    assert SHOW in before
    assert "draining" in after
    assert after.count("\n") <= 24


def test_screen_and_cursor_come_back_after_an_error() -> None:
    console = terminal()

    def fail_inside() -> None:
        with Dashboard(console) as dashboard:
            dashboard.show(snapshot())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert written(console).index(SHOW) < written(console).index(LEAVE)


def test_the_screen_is_not_touched_before_there_is_something_to_show() -> None:
    console = terminal()
    with Dashboard(console) as dashboard:
        dashboard.press("?")
    assert written(console) == ""


def test_without_a_terminal_there_are_no_escape_codes() -> None:
    console = Console(file=io.StringIO(), force_terminal=False, width=80, height=24, _environ={})
    with Dashboard(console) as dashboard:
        dashboard.show(snapshot())
    assert "\x1b" not in written(console)
    assert "livedenoise rig" in written(console)


def test_every_row_is_written_at_every_size() -> None:
    console = terminal()
    with Dashboard(console) as dashboard:
        for size in (SMALL, LARGE, (60, 15)):
            console.size = size  # type: ignore[assignment]
            start = len(written(console))
            dashboard.show(snapshot())
            rows = [int(row) for row in re.findall(r"\x1b\[(\d+);1H", written(console)[start:])]
            assert rows == list(range(1, size[1] + 1))


def test_a_terminal_that_goes_away_is_an_os_error_for_the_caller() -> None:
    class Gone(io.StringIO):
        closed_down = False

        def write(self, text: str) -> int:
            if self.closed_down:
                raise OSError(5, "Input/output error")
            return super().write(text)

    console = terminal()
    console.file = gone = Gone()
    dashboard = Dashboard(console)
    dashboard.__enter__()
    dashboard.show(snapshot())
    gone.closed_down = True
    with pytest.raises(OSError, match="Input/output"):
        dashboard.show(snapshot())
    with pytest.raises(OSError, match="Input/output"):
        dashboard.__exit__(None, None, None)


def test_question_mark_turns_the_pages_of_the_help_and_comes_back() -> None:
    pages = len(help_pages(*SMALL))
    choice = Choice()
    seen = []
    for _ in range(pages + 1):
        choice = chosen(choice, "?", snapshot(), SMALL)
        seen.append(choice.help_page)
    assert seen == [*range(1, pages + 1), 0]
    opened = chosen(choice, "h", snapshot(), SMALL)
    assert chosen(opened, "\x1b", snapshot(), SMALL).help_page == 0


def test_tab_and_digits_choose_the_camera() -> None:
    three = snapshot(streams=tuple(stream(camera=name) for name in "abc"))
    choice = Choice()
    seen = []
    for key in "\t\t\t3291x":
        choice = chosen(choice, key, three, SMALL)
        seen.append(choice.camera)
    assert seen == [1, 2, 0, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(("size", "first"), [(SMALL, False), (LARGE, True)])
def test_p_turns_the_picture_round_whatever_the_size(size: tuple[int, int], first: bool) -> None:
    choice = Choice()
    seen = []
    for _ in range(3):
        seen.append(picture_shown(snapshot(), size, choice))
        choice = chosen(choice, "p", snapshot(), size)
    assert seen == [first, not first, first]


def test_press_redraws_at_once() -> None:
    console = terminal()
    with Dashboard(console, quit_key=True) as dashboard:
        dashboard.press("?")
        dashboard.show(snapshot())
        assert "q leave" in written(console)
        dashboard.press("?")
        assert "page 1 of" in written(console)


@pytest.fixture
def pty_pair() -> Iterator[tuple[int, TextIO]]:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    with os.fdopen(slave, "r", encoding="ascii") as stream_in:
        yield master, stream_in
    os.close(master)


@posix
def test_keys_come_one_by_one_and_the_terminal_is_as_before(
    pty_pair: tuple[int, TextIO],
) -> None:
    import termios

    master, stream_in = pty_pair
    before = termios.tcgetattr(stream_in.fileno())
    console = terminal()

    def fail_inside() -> None:
        with Dashboard(console, keys=Keys(stream_in)) as dashboard:
            dashboard.show(snapshot())
            assert "? help" in written(console)
            lflag = termios.tcgetattr(stream_in.fileno())[3]
            assert not lflag & termios.ICANON
            assert lflag & termios.ISIG
            os.write(master, b"?")
            dashboard.show(snapshot())
            assert "page 1 of" in written(console)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert termios.tcgetattr(stream_in.fileno()) == before


@posix
def test_no_key_is_not_waited_for(pty_pair: tuple[int, TextIO]) -> None:
    _, stream_in = pty_pair
    with Keys(stream_in) as keys:
        assert keys.live
        assert keys.poll() == ""
    assert not keys.live
    assert keys.poll() == ""


@posix
def test_keys_of_another_jobs_terminal_are_left_alone(
    pty_pair: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    import termios

    _, stream_in = pty_pair
    before = termios.tcgetattr(stream_in.fileno())
    monkeypatch.setattr(os, "tcgetpgrp", lambda _: os.getpgrp() + 1)
    with Keys(stream_in) as keys:
        assert not keys.live
        assert termios.tcgetattr(stream_in.fileno()) == before


def test_an_input_that_is_no_terminal_has_no_keys() -> None:
    with Keys(io.StringIO("ppp")) as keys:
        assert not keys.live
        assert keys.poll() == ""


def cells_of_text(text: str) -> dict[int, tuple[str, ...]]:
    """Run one line on a terminal of one row: column -> (colour, background, character)."""
    cells: dict[int, tuple[str, ...]] = {}
    column, colour, back = 0, "", ""
    for match in re.finditer(r"\x1b\[(\d+)D|\x1b\[([\d;]*)m|(.)", text):
        move, codes, char = match.groups()
        if move:
            column -= int(move)
        elif char:
            cells[column] = (colour, back, char)
            column += 1
        elif codes in ("", "0"):
            colour = back = ""
        else:
            for plane, grey in re.findall(r"([34]8);2;(\d+);\d+;\d+", codes):
                colour, back = (grey, back) if plane == "38" else (colour, grey)
    return cells


def test_the_fast_picture_draws_the_same_cells_as_the_measured_one() -> None:
    shown = grey_picture(os.urandom(40 * 30), 40, 30)
    assert shown is not None
    console = terminal()
    console.set_alt_screen(True)
    slow, fast = (picture_lines(shown, 30, 20, mode) for mode in ("segments", "ansi"))
    for one, other in zip(slow, fast, strict=True):
        texts = []
        for content in (one, other):
            with console.capture() as capture:
                console.update_screen_lines([content])
            texts.append(cells_of_text(re.sub(r"\x1b\[[\d;]*H", "", capture.get())))
        assert texts[0] == texts[1]
        assert len(texts[0]) == 30


def test_pixels_are_picked_never_averaged() -> None:
    checker = bytes([0, 255] * 32 + [255, 0] * 32) * 32
    shown = grey_picture(checker, 64, 64)
    assert shown is not None
    ramp = picture_lines(shown, 63, 31, "segments")
    greys = {
        color.get_truecolor().green
        for content in ramp
        for segment in content
        if segment.style is not None
        for color in (segment.style.color, segment.style.bgcolor)
        if color is not None
    }
    assert greys == {0, 255}


def test_bytes_that_are_no_picture_are_none() -> None:
    assert grey_picture(b"1234", 3, 2) is None
    assert grey_picture(b"", 0, 0) is None


def test_a_picture_without_room_leaves_the_figures_and_p_turns_it_off_again() -> None:
    shown = snapshot(alerts=tuple(f"alert {number}: " + "long " * 40 for number in range(4)))
    asked, plain = (
        ["".join(part.text for part in row) for row in compose(shown, (80, 20), choice, Look())]
        for choice in (Choice(picture=True), Choice(picture=False))
    )
    assert any("quality" in row for row in asked)
    assert asked == plain
