"""Report pages: whole in one file, escaped, with their pictures beside them."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.core.errors import ConfigError
from livedenoise.report import figures
from livedenoise.report.page import Page, Picture, Section, Table, Verdict
from livedenoise.report.provenance import commit_of, provenance_rows

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def small_picture(name: str = "line") -> Picture:
    return figures.picture(
        name, lambda figure: figure.add_subplot().plot([0, 1]), caption="A line.", size_in=(2, 1)
    )


def small_page(**changes: object) -> Page:
    table = Table(columns=("name", "value"), rows=(("gain", "0.46 ± 0.01 e-/ADU"),))
    section = Section(heading="Gain", text=("How.",), tables=(table,), figures=(small_picture(),))
    facts: dict[str, object] = {"title": "Camera", "sections": (section,)}
    return Page(**(facts | changes))  # type: ignore[arg-type]


def test_the_page_is_whole_and_its_pictures_lie_beside_it(tmp_path: Path) -> None:
    page = small_page(provenance=provenance_rows(["calibrate", "a b"]))
    files = page.write(tmp_path / "out" / "report.html")
    assert [f.relative_to(tmp_path / "out").as_posix() for f in files] == [
        "report/line.png",
        "report.html",
    ]
    text = files[1].read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert [s[:22] for s in sources] == ["data:image/png;base64,"]
    png = base64.b64decode(sources[0].partition(",")[2])
    assert png == files[0].read_bytes()
    assert png.startswith(PNG_MAGIC)
    assert "livedenoise calibrate &#39;a b&#39;" in text


def test_warnings_stand_before_the_verdict_and_the_rest() -> None:
    page = small_page(
        warnings=("drift of 3 %", "drift of 3 %"), verdict=Verdict("usable", "warning")
    )
    text = page.html()
    assert text.count("drift of 3 %") == 1
    places = [text.index(part) for part in ("drift of 3 %", "usable", "Gain", "0.46 ±")]
    assert places == sorted(places)


@settings(max_examples=30)
@given(st.text(min_size=1).filter(lambda t: any(c in "<>&\"'" for c in t)))
def test_every_text_is_escaped(text: str) -> None:
    hostile = f"<script>{text}</script>"
    table = Table(columns=(hostile,), rows=((hostile,),), caption=hostile)
    section = Section(heading=hostile, text=(hostile,), tables=(table,))
    html = Page(
        title=hostile,
        subtitle=hostile,
        sections=(section,),
        summary_rows=((hostile, hostile),),
        verdict=Verdict(hostile),
        warnings=(hostile,),
        provenance=((hostile, hostile),),
    ).html()
    assert "<script" not in html


def test_names_of_pictures_are_files_of_the_folder() -> None:
    section = Section(heading="a", figures=(small_picture(), small_picture()))
    with pytest.raises(ValueError, match="used twice: line"):
        Page(title="t", sections=(section,))
    section = Section(heading="a", figures=(Picture(name="../up", png=b"", caption=""),))
    with pytest.raises(ValueError, match="not a plain file name"):
        Page(title="t", sections=(section,))


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="columns"):
        Table(columns=("a", "b"), rows=(("1",),))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"report\.html"):
        small_page().write(tmp_path / "file" / "report.html")


@pytest.mark.parametrize("values", [np.full((5, 7), 3.0), np.array([[np.nan, 1.0]])])
def test_maps_without_contrast_or_with_holes_are_drawn(values: np.ndarray) -> None:
    def paint(figure: figures.Figure) -> None:
        left, right = figure.subplots(1, 2)
        figures.draw_map(figure, left, values, title="offset", unit="ADU")
        figures.draw_histogram(right, values, x="offset [ADU]")

    assert figures.picture("maps", paint, caption="", size_in=(4, 2)).png.startswith(PNG_MAGIC)


def test_large_maps_are_shown_as_means() -> None:
    values = np.arange(12.0).reshape(2, 6)
    np.testing.assert_array_equal(figures.reduced(values, side=3), [[3.5, 5.5, 7.5]])
    np.testing.assert_array_equal(figures.reduced(values, side=6), values)
    assert figures.reduced(np.ones((1, 9)), side=4).shape == (1, 3)


def test_no_window_system_is_loaded() -> None:
    code = (
        "import sys; from livedenoise.report.figures import picture; "
        "picture('a', lambda f: f.add_subplot().plot([0, 1]), caption=''); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_commit_is_read_from_a_clone(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(tmp_path) == ""
    (git / "packed-refs").write_text(f"# pack-refs\n{'b' * 40} refs/heads/main\n")
    assert commit_of(tmp_path) == "b" * 12
    (git / "refs" / "heads" / "main").write_text("a" * 40)
    assert commit_of(tmp_path) == "a" * 12
    (git / "HEAD").write_text("c" * 40)
    assert commit_of(tmp_path) == "c" * 12
