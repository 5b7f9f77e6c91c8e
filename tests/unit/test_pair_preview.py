"""A pair in the terminal: both images in their own contrast, and the verdict."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from livedenoise.core.progress import Progress
from livedenoise.view.collect_screen import CollectLines, CollectScreen
from livedenoise.view.pair_preview import PairPicture, render_pair


def scene(shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Return a bright square on a dark ground, in counts."""
    image = np.full(shape, 100, np.uint16)
    image[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 1100
    return image


def drawn(picture: PairPicture, *, width: int = 60, color: bool = True) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="truecolor" if color else None,
        legacy_windows=False,
    )
    console.print(picture)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_both_images_stand_side_by_side_above_the_verdict() -> None:
    text = drawn(render_pair(scene(), scene(), "accepted: all well", 60))
    lines = text.splitlines()
    assert "low" in lines[0]
    assert "high" in lines[0]
    assert "accepted: all well" in lines[-1]
    assert "▀" in lines[1]
    plain = drawn(render_pair(scene(), scene(), "v", 60), color=False).splitlines()
    for line in plain[1:-1]:
        half = (len(line) - 2) // 2
        assert line[:half] == line[half + 2 :], "the same image twice is the same picture twice"


def test_each_image_has_its_own_contrast() -> None:
    dim = (scene().astype(np.float32) - 100) * 0.01 + 100
    plain = drawn(render_pair(dim, scene(), "v", 60), color=False).splitlines()[1:-1]
    assert any("@" in line[:29] for line in plain), "the dim image is stretched to white"
    assert any("@" in line[31:] for line in plain)
    assert plain[-1].strip() == "", "its ground is black"


@pytest.mark.parametrize("width", [10, 40, 200])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (2048, 2048)])
def test_no_line_is_wider_than_the_console(shape: tuple[int, int], width: int) -> None:
    image = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    text = drawn(render_pair(image, image, "", 100), width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 26


def test_a_flat_image_is_no_error() -> None:
    flat = np.zeros((16, 16), np.uint8)
    assert "verdict" in drawn(render_pair(flat, flat, "verdict", 40))


def test_a_rejected_pair_is_red() -> None:
    good = drawn(render_pair(scene(), scene(), "text", 60))
    bad = drawn(render_pair(scene(), scene(), "text", 60, accepted=False))
    assert "\x1b[32mtext" in good
    assert "\x1b[31mtext" in bad


def test_images_that_are_no_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="two images of one shape"):
        render_pair(scene((8, 8)), scene((8, 9)), "", 40)


def step(done: int) -> Progress:
    return Progress(task="collect", done=done, total=25, unit="fields", note="3 pairs accepted")


def test_a_screen_shows_the_bar_and_the_last_pair() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, legacy_windows=False)
    with CollectScreen(console) as screen:
        screen.on_progress(step(3))
        screen.show_pair(scene(), scene(), "field 3: accepted", accepted=True)
        screen.say("stopping")
    text = out.getvalue()
    assert "3/25" in text
    assert "field 3: accepted" in text
    assert "stopping" in text
    assert not screen.lost


class _Gone(io.StringIO):
    def write(self, _text: str, /) -> int:
        raise OSError(5, "Input/output error")

    def flush(self) -> None:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_goes_away_ends_nothing() -> None:
    console = Console(file=_Gone(), width=100, force_terminal=True, legacy_windows=False)
    with CollectScreen(console) as screen:
        screen.on_progress(step(1))
        screen.show_pair(scene(), scene(), "text", accepted=True)
    assert "terminal cannot be written" in screen.lost

    def refuse(_: str) -> None:
        raise BrokenPipeError

    with CollectLines(refuse) as lines:
        lines.on_progress(step(1))
    assert "terminal cannot be written" in lines.lost


def test_a_pipe_gets_plain_lines() -> None:
    lines: list[str] = []
    with CollectLines(lines.append) as view:
        for done in (1, 2, 3):
            view.on_progress(Progress(task="dark", done=done, total=3))
        view.on_progress(step(3))
        view.show_pair(scene(), scene(), "field 3: accepted", accepted=True)
        view.show_pair(scene(), scene(), "field 4: REJECTED: ratio", accepted=False)
    assert lines == [
        "dark 3/3 frames",
        "collect 3/25 fields: 3 pairs accepted",
        "field 4: REJECTED: ratio",
    ]
