# ruff: noqa: D102, S101  (tests: their names say what they show)
"""The conformance kit of engines that run a model package: values, failures, photometry, cache.

Knows: what ``core.engine`` and ``engines.graph`` promise of counts in and out. Must not know: any
one engine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.engine import FrameView
from livedenoise.core.frame import max_count
from livedenoise.imaging.transforms import CountsTransform
from livedenoise.testing.engine_kit import CONSTANTS, EngineKit, make_frame
from livedenoise.testing.tiny_package import Kind, write_tiny_package


class ModelEngineKit(EngineKit):
    """Tests of engines that run a model package."""

    kind: Kind | None = "conv"

    def test_without_a_package_it_says_so(self, tmp_path: Path) -> None:
        request = self.request(tmp_path, package=None)
        assert "package" in (self.make().unsupported(request) or "")

    def test_maps_of_another_size_are_unsupported(self, tmp_path: Path) -> None:
        plane = np.ones((8, 8), dtype=np.float32)
        maps = CameraMaps(offset_adu=plane, gain_e_per_adu=plane, variance_adu2=plane)
        assert "(8, 8)" in (self.make().unsupported(self.request(tmp_path, maps=maps)) or "")

    @pytest.mark.parametrize("dtype", ["|u1", "<u2", "<f4"])
    def test_an_identity_network_gives_every_count_back(self, tmp_path: Path, dtype: str) -> None:
        package = write_tiny_package(tmp_path, "identity")
        top = 255 if dtype == "|u1" else 65535
        ramp = np.linspace(0, top, 61 * 53).reshape(61, 53)
        pixels = (ramp if dtype == "<f4" else np.rint(ramp)).astype(np.dtype(dtype))
        with self.opened(tmp_path, shape=(61, 53), dtype=dtype, package=package) as opened:
            out, done = opened.run(pixels)
        assert done.clipped == 0
        np.testing.assert_allclose(out, pixels, rtol=0, atol=0.02 if dtype == "<f4" else 0)

    def test_integers_are_the_rounded_floats(self, tmp_path: Path) -> None:
        pixels = make_frame((32, 48), "<u2")
        with self.opened(tmp_path, out_dtype="<f4") as opened:
            exact, _ = opened.run(pixels)
        with self.opened(tmp_path) as opened:
            out, _ = opened.run(pixels)
        np.testing.assert_array_equal(out, np.rint(exact))
        assert (np.floor(exact) != out).mean() > 0.3

    def test_clipped_pixels_are_counted(self, tmp_path: Path) -> None:
        package = write_tiny_package(tmp_path, "identity")
        pixels = np.full((32, 48), 500.0, dtype=np.float32)
        pixels[0, :5], pixels[3, :7] = -3.0, 5000.0
        pixels[5, :2] = (-0.4, 4095.4)  # these round into the range
        with self.opened(
            tmp_path, dtype="<f4", out_dtype="<u2", bit_depth=12, package=package
        ) as opened:
            out, done = opened.run(pixels)
        assert done.clipped == 12
        assert (out[0, :5] == 0).all()
        assert (out[3, :7] == max_count(12)).all()
        assert out[5, :2].tolist() == [0, 4095]

    def test_float_output_is_never_clipped(self, tmp_path: Path) -> None:
        package = write_tiny_package(tmp_path, "identity")
        pixels = np.full((32, 48), -7.25, dtype=np.float32)
        with self.opened(tmp_path, dtype="<f4", package=package) as opened:
            out, done = opened.run(pixels)
        assert done.clipped == 0
        np.testing.assert_allclose(out, -7.25, atol=1e-4)

    @pytest.mark.parametrize("kind", ["nan", "raise"])
    def test_a_failing_frame_is_reported_and_the_next_one_served(
        self, tmp_path: Path, kind: Kind
    ) -> None:
        package = write_tiny_package(tmp_path, kind)
        good = make_frame((32, 48), "<u2")
        bad = good.copy()
        bad[17, 23] = 65535
        constants = CameraConstants(gain_e_per_adu=1.0, offset_adu=100.0, read_noise_e=0.0)
        with self.opened(tmp_path, package=package, constants=constants) as opened:
            outs = [np.zeros_like(good) for _ in range(3)]
            for seq, pixels in enumerate((good, bad, good)):
                opened.engine.submit(FrameView(seq=seq, pixels=pixels), outs[seq], reset=False)
            done = [opened.next_done() for _ in range(3)]
        assert [d.seq for d in done] == [0, 1, 2]
        assert [bool(d.error) for d in done] == [False, True, False]
        assert kind != "nan" or "NaN" in done[1].error
        assert done[1].t_start_ns <= done[1].t_end_ns
        np.testing.assert_array_equal(outs[2], good)

    def test_maps_take_the_fixed_pattern_out(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(5)
        maps = CameraMaps(
            offset_adu=(100 + 5 * rng.standard_normal((32, 48))).astype(np.float32),
            gain_e_per_adu=(0.5 + 0.05 * rng.random((32, 48))).astype(np.float32),
            variance_adu2=np.full((32, 48), 9, np.float32),
        )
        package = write_tiny_package(tmp_path, "identity")
        electrons = 40 + 20 * rng.random((32, 48))
        pixels = (electrons / maps.gain_e_per_adu + maps.offset_adu).astype(np.float32)
        with self.opened(tmp_path, dtype="<f4", package=package, maps=maps) as opened:
            out, _ = opened.run(pixels)
        transform = CountsTransform(CONSTANTS, maps)
        expected = transform.to_counts(transform.to_network(pixels))
        np.testing.assert_allclose(out, expected, atol=1e-3)
        np.testing.assert_allclose(out, electrons / 0.5 + 100.0, atol=1e-3)

    @pytest.mark.parametrize(("dtype", "bit_depth"), [("|u1", 8), ("<u2", 16)])
    @pytest.mark.parametrize("electrons", [2, 10, 100, 1000])
    def test_a_mean_preserving_network_keeps_the_photometry(
        self, tmp_path: Path, dtype: str, bit_depth: int, electrons: int
    ) -> None:
        package = write_tiny_package(tmp_path, "mean")
        gain = max(0.25, electrons / 100) if dtype == "|u1" else 0.46
        constants = CameraConstants(gain_e_per_adu=gain, offset_adu=12.0, read_noise_e=0.5)
        rng = np.random.default_rng(electrons)
        noisy = rng.poisson(electrons, (64, 64)) / gain + 12 + rng.normal(0, 0.5 / gain, (64, 64))
        pixels = np.clip(np.rint(noisy), 0, max_count(bit_depth)).astype(dtype)
        with self.opened(
            tmp_path,
            shape=(64, 64),
            dtype=dtype,
            bit_depth=bit_depth,
            constants=constants,
            package=package,
        ) as opened:
            out, _ = opened.run(pixels)
        assert out.std() < 0.6 * pixels.std()
        signal_in, signal_out = pixels.mean() - 12, out.mean() - 12
        assert abs(signal_out / signal_in - 1) < 0.005

    def test_the_second_opening_comes_from_the_cache(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        pixels = make_frame((32, 48), "<u2")
        with self.opened(tmp_path, cache_dir=cache) as opened:
            assert not opened.info.cached
            first, _ = opened.run(pixels)
        with self.opened(tmp_path, cache_dir=cache) as opened:
            assert opened.info.cached
            second, _ = opened.run(pixels)
        np.testing.assert_array_equal(first, second)

    def test_another_gain_is_served_from_the_same_cache_entry(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        other = CameraConstants(gain_e_per_adu=2.0, offset_adu=80.0, read_noise_e=3.0)
        pixels = make_frame((32, 48), "<u2")
        with self.opened(tmp_path, cache_dir=cache) as opened:
            first, _ = opened.run(pixels)
        with self.opened(tmp_path, constants=other) as opened:
            fresh, _ = opened.run(pixels)
        with self.opened(tmp_path, constants=other, cache_dir=cache) as opened:
            assert opened.info.cached
            cached, _ = opened.run(pixels)
        np.testing.assert_array_equal(cached, fresh)
        assert (cached != first).any()

    def test_a_damaged_cache_entry_is_built_again(self, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        pixels = make_frame((32, 48), "<u2")
        with self.opened(tmp_path, cache_dir=cache) as opened:
            first, _ = opened.run(pixels)
        (entry,) = cache.iterdir()
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 0xFF
        entry.write_bytes(content)
        with self.opened(tmp_path, cache_dir=cache) as opened:
            assert not opened.info.cached
            np.testing.assert_array_equal(opened.run(pixels)[0], first)
        with self.opened(tmp_path, cache_dir=cache) as opened:
            assert opened.info.cached

    def test_a_cache_that_cannot_be_written_is_a_note(self, tmp_path: Path) -> None:
        blocked = tmp_path / "a-file"
        blocked.write_text("not a folder")
        with self.opened(tmp_path, cache_dir=blocked) as opened:
            assert any("cache" in note for note in opened.info.notes)
            assert opened.run(make_frame((32, 48), "<u2"))[1].error == ""
