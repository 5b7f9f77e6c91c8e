"""The table of figures, its page, and the block that is sampled."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.quality.definitions import FIGURES
from livedenoise.quality.region import EDGE_PX, centre_region, sample_region

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import make_quality_reference

    page = (ROOT / "docs" / "quality-figures.md").read_text(encoding="utf-8")
    assert page == make_quality_reference.render(), "run tools/make_quality_reference.py"
    assert all(f"## {key}\n" in page for key in FIGURES)
    sys.modules.pop("make_quality_reference")


def test_every_figure_says_everything() -> None:
    for key, one in FIGURES.items():
        assert key == one.key
        for text in (one.label, one.definition, one.source, one.invalid, one.reading):
            assert text == text.strip()
            assert text


def test_no_figure_of_the_denoised_image_is_a_signal_to_noise_ratio() -> None:
    """Blurring would raise it: only errors against following frames may need the denoised one."""
    for one in FIGURES.values():
        if one.unit == "dB" and one.needs_denoised:
            assert one.compares_frames, one.key


@given(
    index=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_the_block_lies_inside_the_frame(index: int, shape: tuple[int, int]) -> None:
    for region in (sample_region(index, shape), centre_region(shape, EDGE_PX)):
        for part, size in zip(region, shape, strict=True):
            assert part.start >= 0
            assert part.stop <= size
            assert part.stop - part.start == min(EDGE_PX, size)


def test_the_block_covers_the_frame_evenly() -> None:
    shape = (600, 400)
    hits = np.zeros(shape)
    for index in range(200):
        hits[sample_region(index, shape)] += 1
    inner = hits[64:-64, 64:-64]
    assert hits.min() > 0
    # Drawn at random it would be the root of the mean: 0.25 of it.
    assert inner.std() < 0.22 * inner.mean()


def test_the_centre_is_the_centre() -> None:
    assert centre_region((101, 40), 20) == (slice(40, 60), slice(10, 30))
