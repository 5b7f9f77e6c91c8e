"""The small pictures show noise as it is, on one grey scale."""

from __future__ import annotations

import numpy as np
import pytest

from livedenoise.core.status import Preview
from livedenoise.view.preview import PreviewMaker


def pictures(preview: Preview) -> tuple[np.ndarray, np.ndarray]:
    shape = (preview.height, preview.width)
    raw = np.frombuffer(preview.raw, np.uint8).reshape(shape)
    return raw, np.frombuffer(preview.clean, np.uint8).reshape(shape)


def test_both_pictures_are_on_the_scale_of_the_denoised_one() -> None:
    clean = np.linspace(100, 300, 96 * 64).reshape(64, 96).astype(np.uint16)
    raw = clean + 50
    preview = PreviewMaker().make(7, raw, clean)
    assert (preview.seq, preview.height, preview.width) == (7, 64, 96)
    assert (preview.low_adu, preview.high_adu) == pytest.approx((101, 299.4), abs=1)
    shown_raw, shown_clean = pictures(preview)
    span = preview.high_adu - preview.low_adu
    np.testing.assert_allclose(
        shown_clean, np.clip((clean - preview.low_adu) / span, 0, 1) * 255, atol=0.51
    )
    middle = (shown_clean > 0) & (shown_raw < 255)
    lift = shown_raw[middle].astype(int) - shown_clean[middle]
    np.testing.assert_allclose(lift, 50 / span * 255, atol=1)


def test_noise_is_shown_as_it_is() -> None:
    rng = np.random.default_rng(0)
    clean = np.linspace(0, 1000, 96 * 96).reshape(96, 96).astype(np.uint16)
    raw = np.clip(clean + rng.normal(0, 100, clean.shape), 0, 65535).astype(np.uint16)
    preview = PreviewMaker().make(0, raw, clean)
    shown_raw, shown_clean = pictures(preview)
    noise = shown_raw[40:56].astype(float) - shown_clean[40:56]
    expected = 100 / (preview.high_adu - preview.low_adu) * 255
    assert noise.std() == pytest.approx(expected, rel=0.05)


def test_the_scale_follows_slowly_and_arrives() -> None:
    maker = PreviewMaker()
    dark, bright = np.full((8, 8), 100, np.uint16), np.full((8, 8), 1100, np.uint16)
    first = maker.make(0, dark, None)
    assert first.high_adu == first.low_adu + 1
    assert maker.make(1, bright, None).low_adu == pytest.approx(300)
    for seq in range(2, 30):
        last = maker.make(seq, bright, None)
    assert last.low_adu == pytest.approx(1100, abs=3)
    maker.reset()
    assert maker.make(30, dark, None).low_adu == 100


def test_a_frame_that_was_not_denoised_has_one_picture() -> None:
    preview = PreviewMaker().make(0, np.arange(64, dtype=np.uint8).reshape(8, 8), None)
    assert preview.clean == b""
    assert len(preview.raw) == 64


def test_float_frames_and_negative_levels_are_shown() -> None:
    picture = np.linspace(-5, 5, 64, dtype=np.float32).reshape(8, 8)
    shown, _ = pictures(PreviewMaker().make(0, picture, picture))
    assert shown[0, 0] == 0
    assert shown[-1, -1] == 255


def test_crops_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="different shape"):
        PreviewMaker().make(0, np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


def test_what_is_not_a_number_is_black_and_spoils_nothing() -> None:
    rng = np.random.default_rng(4)
    frames = [rng.normal(50.0, 5.0, (32, 32)).astype(np.float32) for _ in range(3)]
    frames[1][3, 4] = np.nan
    frames[2][:] = np.nan
    maker = PreviewMaker()
    shown = [maker.make(number, frame, None) for number, frame in enumerate(frames)]
    assert all(np.isfinite((one.low_adu, one.high_adu)).all() for one in shown)
    picture = np.frombuffer(shown[1].raw, np.uint8).reshape(32, 32)
    assert picture[3, 4] == 0
    assert picture.std() > 10
