"""Pairs as low/ and GT/ folders: aligned, cropped, named alike, whole or not there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import dataset_kit as kit
import msgspec
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from livedenoise.cli import main
from livedenoise.collect.dataset import Dark, DatasetWriter
from livedenoise.collect.dataset_images import SiteTaken
from livedenoise.collect.dataset_reader import DatasetPair
from livedenoise.collect.export import Options, export_pairs, lay
from livedenoise.collect.export_dark import Darks
from livedenoise.collect.records import ShotRecord
from livedenoise.collect.shots import Shot, Site
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.progress import Progress

SHAPE = (48, 64)


def scene(dy: float, dx: float, amplitude: float = 800.0, shape: tuple = SHAPE) -> np.ndarray:
    """Return a smooth scene as it looks when it lies (dy, dx) further down and right."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    waves = np.sin((y - dy) / 4.0) + np.cos((x - dx) / 5.0 + 0.3 * np.sin((y - dy) / 7.0))
    return 100.0 + amplitude * (2.2 + waves)


def make_pair(shift: tuple[float, float], error: float = 0.02, ratio: float = 0.25) -> DatasetPair:
    low, high = scene(0, 0, 200), scene(*shift)
    shots = [
        ShotRecord(shot=Shot(role=role, exposure_us=us), series=n, exposure_us=us, mean_adu=0.0)
        for n, (role, us) in enumerate((("low", 1000), ("high", 4000)))
    ]
    return DatasetPair(
        name="pair",
        field=0,
        attempt=0,
        split="train",
        site=Site(field=0),
        low=np.rint(low).astype(np.uint16),
        high=np.rint(high).astype(np.uint16),
        after=None,
        low_shot=shots[0],
        high_shot=shots[1],
        verdict=kit.make_verdict(shift_px=shift, shift_error_px=error, ratio=ratio),
        file="",
    )


DARKS = Darks(100.0)


@given(
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    dtype=st.sampled_from(["same", "float32"]),
)
@settings(max_examples=30, deadline=None)
def test_high_lies_on_low_where_both_are(shift: tuple[float, float], dtype: str) -> None:
    pair = make_pair(shift)
    laid = lay(pair, DARKS, Options(dtype=dtype))
    assert laid.low.shape == laid.high.shape
    np.testing.assert_array_equal(laid.low, pair.low[laid.region].astype(laid.low.dtype))
    assert min(laid.low.shape) >= 42
    # Cubic splines know the scene to a few counts of 1600, away from the mirrored border; what is
    # left alone may be 0.04 px off, where the scene climbs by up to 270 counts a pixel.
    inside = (slice(6, -6), slice(6, -6))
    truth = scene(0, 0)[laid.region][inside]
    assert np.abs(laid.high[inside] - truth).max() < 24
    moved = any(abs(one) > 0.04 for one in shift)
    assert laid.moved == moved
    assert laid.high.dtype == (np.float32 if dtype == "float32" else np.uint16)


def test_a_shift_within_its_error_is_left_alone() -> None:
    pair = make_pair((0.05, -0.09), error=0.05)
    laid = lay(pair, DARKS, Options())
    assert not laid.moved
    np.testing.assert_array_equal(laid.high, pair.high)
    laid = lay(make_pair((0.05, -0.11), error=0.05), DARKS, Options())
    assert laid.moved


def test_moved_counts_are_rounded_and_stay_in_range() -> None:
    pair = make_pair((0.5, -1.25))
    bright = msgspec.structs.replace(pair, high=np.where(pair.high > 2000, 65535, 0).astype("<u2"))
    for one in (pair, bright):
        exact = lay(one, DARKS, Options(dtype="float32")).high
        counts = lay(one, DARKS, Options()).high
        assert counts.dtype == np.uint16
        np.testing.assert_array_equal(counts, np.clip(np.round(exact), 0, 65535))
    assert exact.max() > 65535.5
    assert exact.min() < -0.5


def test_as_taken_changes_no_pixel() -> None:
    pair = make_pair((2.0, 1.0))
    laid = lay(pair, DARKS, Options(aligned=False))
    np.testing.assert_array_equal(laid.high, pair.high)
    assert (laid.low.shape, laid.moved) == (SHAPE, False)


def test_match_brings_high_to_the_intensity_of_low() -> None:
    pair = make_pair((0.0, 0.0))
    laid = lay(pair, DARKS, Options(dtype="float32", scale="match"))
    np.testing.assert_allclose(laid.high, pair.low, atol=0.7)
    unknown = msgspec.structs.replace(pair, verdict=kit.make_verdict(ratio=0.0))
    assert lay(unknown, DARKS, Options(dtype="float32", scale="match")).scale == 0.05


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.25, -0.5)])
def test_match_scales_light_and_not_the_dark_image(shift: tuple[float, float]) -> None:
    """The dark counts of both exposures differ, from pixel to pixel and from the header's."""
    darks = {us: 100.0 + pattern(us) for us in (1000, 4000)}
    pair = make_pair(shift)
    pair = msgspec.structs.replace(
        pair,
        low=np.rint(pair.low - 100 + darks[1000]).astype(np.uint16),
        high=np.rint(pair.high - 100 + darks[4000]).astype(np.uint16),
    )
    images = {us: dark.astype(np.float32) for us, dark in darks.items()}
    laid = lay(pair, Darks(90.0, images), Options(dtype="float32", scale="match"))
    assert laid.moved == any(shift)
    difference = (laid.high - laid.low)[6:-6, 6:-6]
    assert np.abs(difference).max() < (6 if any(shift) else 1.3)
    assert abs(difference.mean()) < 0.1
    biased = lay(pair, Darks(90.0), Options(dtype="float32", scale="match"))
    assert abs((biased.high - biased.low).mean()) > 5


def pattern(exposure_us: int) -> np.ndarray:
    """Return counts without light beyond 100: fixed for each pixel, more at long exposures."""
    spread = np.random.default_rng(5).normal(0, 3, SHAPE)
    return spread * (1 + exposure_us / 4000) + exposure_us / 1000


def test_match_uses_the_dark_frames_of_the_data_set(tmp_path: Path) -> None:
    darks = [
        Dark(
            exposure_us=us,
            frames=16,
            mean_adu=np.full(SHAPE, 100.0 + us / 500, np.float32),
            variance_adu2=np.ones(SHAPE, np.float32),
        )
        for us in (1000, 4000)
    ]
    folder = tmp_path / "data"
    with DatasetWriter.create(folder, kit.make_header(shape=SHAPE), kit.PLAN, darks) as writer:
        kit.add_field(writer, 0, sites=[moved_site(0)])
    done = export_pairs(folder, tmp_path / "out", Options(scale="match", dtype="float32"))
    assert done.pairs == {"train": 1}
    (low,) = (tmp_path / "out" / "train" / "low").iterdir()
    high = tifffile.imread(tmp_path / "out" / "train" / "GT" / low.name)
    site = moved_site(0)
    shots = [one.shot.exposure_us for one in site.taken]
    expected = site.taken[1].image.astype(np.float32)
    nearest = {1000: 102.0, 20_000: 108.0}
    ratio = 0.05
    expected = nearest[shots[0]] + (expected - nearest[shots[1]]) * ratio
    np.testing.assert_allclose(high, expected, rtol=1e-5)


def test_a_damaged_dark_file_ends_the_export(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    dark = Dark(
        exposure_us=1000,
        frames=2,
        mean_adu=np.zeros(SHAPE, np.float32),
        variance_adu2=np.ones(SHAPE, np.float32),
    )
    with DatasetWriter.create(folder, kit.make_header(shape=SHAPE), kit.PLAN, [dark]) as writer:
        kit.add_field(writer, 0, sites=[moved_site(0)])
    path = next((folder / "dark").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match="was altered"):
        export_pairs(folder, tmp_path / "out", Options(scale="match", dtype="float32"))
    assert not (tmp_path / "out").exists()


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"leaves .* px in common"):
        lay(make_pair((40.0, 0.0)), DARKS, Options())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    header = kit.make_header(shape=SHAPE)
    with DatasetWriter.create(folder, header, kit.PLAN) as writer:
        for field, split in enumerate(("train", "val", "train")):
            kit.add_field(writer, field, sites=[moved_site(field)], split=split)
        bad = [moved_site(3, "shift")]
        kit.add_field(writer, 3, sites=bad, status="failed")
    return folder


def moved_site(field: int, *reasons: str) -> SiteTaken:
    pair = make_pair((float(field), 0.0), error=0.02)
    site = kit.make_site(field, name=f"Pos{field}", channel="FITC")
    low, high = (
        msgspec.structs.replace(taken, image=image)
        for taken, image in zip(site.taken, (pair.low, pair.high), strict=True)
    )
    both = msgspec.structs.replace(site.pairs[0][0], low=low, high=high)
    verdict = kit.make_verdict(*reasons, shift_px=pair.shift_px, shift_error_px=0.02)
    return SiteTaken(site=site.site, taken=(low, high), pairs=((both, verdict),))


def test_folders_of_equal_names_and_a_table(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "pairs"
    seen: list[Progress] = []
    done = export_pairs(dataset, out, on_progress=seen.append)
    assert (done.pairs, done.moved, done.folder) == ({"train": 2, "val": 1}, 2, str(out))
    names = [f"field_000{n}-c0z0-level0-repeat0.tif" for n in range(3)]
    for split, expected in (("train", [names[0], names[2]]), ("val", [names[1]])):
        for kind in ("low", "GT"):
            assert sorted(p.name for p in (out / split / kind).iterdir()) == expected
    low, high = (tifffile.imread(out / "train" / kind / names[2]) for kind in ("low", "GT"))
    assert low.shape == high.shape == (46, 64)
    assert low.dtype == high.dtype == np.uint16
    np.testing.assert_array_equal(low, make_pair((0, 0)).low[:46])
    with (out / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == names
    assert [row["split"] for row in rows] == ["train", "val", "train"]
    assert (
        rows[2]
        | {
            "shift_y_px": "2.0",
            "moved": "1",
            "height_px": "46",
            "low_exposure_us": "1000",
            "high_exposure_us": "20000",
            "dose_ratio": "20.0",
            "channel": "FITC",
            "position": "Pos2",
            "gain_e_per_adu": "0.5",
            "source": "fields/field_0002.ome.tif",
        }
        == rows[2]
    )
    assert [(one.done, one.total) for one in seen] == [(1, 3), (2, 3), (3, 3)]
    assert [path.name for path in out.parent.iterdir()] == ["pairs"]


def test_one_split_only(dataset: Path, tmp_path: Path) -> None:
    done = export_pairs(dataset, tmp_path / "out", Options(split="val", dtype="float32"))
    assert done.pairs == {"val": 1}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pairs.csv", "val"]
    with pytest.raises(ConfigError, match=r"no accepted pair in test \(2 in train, 1 in val\)"):
        export_pairs(dataset, tmp_path / "other", Options(split="test"))
    assert not (tmp_path / "other").exists()


def test_an_existing_folder_is_refused(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ConfigError, match="out: exists already"):
        export_pairs(dataset, out)
    assert list(out.iterdir()) == []


def test_damage_leaves_nothing_of_the_export(dataset: Path, tmp_path: Path) -> None:
    path = dataset / "fields" / "field_0002.ome.tif"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RecordError, match=r"field_0002\.ome\.tif: was altered"):
        export_pairs(dataset, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing_of_the_export(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def full(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RecordError, match=r"out: cannot be written: .*No space left"):
        export_pairs(dataset, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_the_verb(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    command = ["export-pairs", str(dataset), "--out", out, "--as-taken", "--scale", "match"]
    assert main([*command, "--split", "train", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["pairs"] == {"train": 2}
    assert (printed["moved"], printed["exit_code"]) == (0, 0)
    image = tifffile.imread(tmp_path / "out/train/GT/field_0000-c0z0-level0-repeat0.tif")
    assert image.dtype == np.float32
    assert main([*command, "--json"]) == 2
    assert "exists already" in json.loads(capsys.readouterr().out)["errors"][0]
    other = ["export-pairs", str(dataset), "--out", str(tmp_path / "b")]
    assert main([*other, "--scale", "match", "--dtype", "same"]) == 2
    assert "--dtype float32" in capsys.readouterr().err
    assert main(other) == 0
    assert "2 train, 1 val pairs" in capsys.readouterr().out
