"""What a data set on disk holds, bit for bit, and what its writer refuses."""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import dataset_kit as kit
import msgspec
import numpy as np
import pytest
import tifffile

from livedenoise.collect.dataset import Dark, DatasetWriter
from livedenoise.collect.dataset_reader import open_dataset, verify_dataset
from livedenoise.collect.dataset_summary import summarise_dataset
from livedenoise.core.errors import ConfigError, RecordError


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[DatasetWriter]:
    with DatasetWriter.create(tmp_path / "data", kit.make_header(), kit.PLAN) as found:
        yield found


def series(path: Path) -> dict[str, np.ndarray]:
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        return {one.name: one.asarray() for one in tiff.series}


def test_counts_come_back_bit_for_bit_under_their_names(writer: DatasetWriter) -> None:
    site = kit.make_site(3, kit.BRACKET, channel="GFP <1>")
    record = kit.add_field(writer, 3, sites=[site])
    stored = series(writer.folder / record.file)
    assert list(stored) == [
        "c0z0-level0-repeat0-low",
        "c0z0-repeat0-high",
        "c0z0-level0-repeat0-low-after",
    ]
    for taken, image in zip(site.taken, stored.values(), strict=True):
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, taken.image)
    assert record.file == "fields/field_0003.ome.tif"
    assert record.rejected_file == ""


def test_ome_xml_says_where_how_long_and_what(writer: DatasetWriter) -> None:
    average = kit.HIGH | {"frames": 4, "light": 0.25}
    site = kit.make_site(2, (kit.LOW, average), channel="GFP & \x07 µ")
    record = kit.add_field(writer, 2, sites=[site])
    with tifffile.TiffFile(writer.folder / record.file) as tiff:
        low, high = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
    pixels, plane = low["Pixels"], low["Pixels"]["Plane"]
    assert (pixels["Type"], high["Pixels"]["Type"]) == ("uint16", "float")
    assert (pixels["SizeX"], pixels["SizeY"], pixels["SizeC"]) == (20, 12, 1)
    assert pixels["PhysicalSizeX"] == pixels["PhysicalSizeY"] == 0.11
    assert pixels["PhysicalSizeXUnit"] == "µm"
    assert pixels["SignificantBits"] == 12
    assert "SignificantBits" not in high["Pixels"]
    assert pixels["Channel"]["Name"] == "GFP & \ufffd µ"
    assert plane["ExposureTime"] == pytest.approx(1e-3)
    assert (plane["PositionX"], plane["PositionY"], plane["PositionZ"]) == (20.0, -2.0, 3.5)
    assert plane["PositionXUnit"] == "µm"
    assert high["Description"] == "high, 20000 us a frame, light 0.25, mean of 4 frames"


def test_a_shot_that_both_use_is_in_both_files(writer: DatasetWriter) -> None:
    site = kit.make_site(0, kit.LADDER, (kit.make_verdict(), kit.make_verdict("shift")))
    record = kit.add_field(writer, 0, sites=[site])
    accepted = series(writer.folder / record.file)
    rejected = series(writer.folder / record.rejected_file)
    assert list(accepted) == ["c0z0-level0-repeat0-low", "c0z0-repeat0-high"]
    assert list(rejected) == ["c0z0-level1-repeat0-low", "c0z0-repeat0-high"]
    np.testing.assert_array_equal(rejected["c0z0-repeat0-high"], site.taken[2].image)
    assert [shot.series for shot in record.sites[0].shots] == [0, 0, 1]
    assert record.rejected_series == {"0/1": 0, "0/2": 1}
    data = open_dataset(writer.folder)
    np.testing.assert_array_equal(data.rejected_image(record, 0, 1), site.taken[1].image)
    with pytest.raises(RecordError, match="no rejected image of site 0, shot 0"):
        data.rejected_image(record, 0, 0)


def test_an_attempt_given_up_leaves_nothing_in_the_field(writer: DatasetWriter) -> None:
    verdicts = (kit.make_verdict(), kit.make_verdict("motion"))
    sites = [kit.make_site(5, kit.LADDER, verdicts)]
    first = kit.add_field(writer, 5, 0, sites=sites, status="retry")
    second = kit.add_field(writer, 5, 1)
    assert (first.file, first.rejected_file) == ("", "rejected/field_0005_attempt0.ome.tif")
    assert len(series(writer.folder / first.rejected_file)) == 3
    assert second.file == "fields/field_0005.ome.tif"
    pairs = list(open_dataset(writer.folder).pairs())
    assert [(pair.field, pair.attempt) for pair in pairs] == [(5, 1)]
    _, summary = summarise_dataset(writer.folder)
    assert summary.rejected_by == {"attempt": 1, "motion": 1}
    assert (summary.fields_done, summary.fields_open, summary.attempts) == (1, 0, 2)


def test_sites_channels_and_kept_frames_have_their_own_series(writer: DatasetWriter) -> None:
    frames = tuple(kit.make_pixels(seed) for seed in (70, 71))
    first = kit.make_site(1, (kit.LOW, kit.HIGH | {"frames": 2}), channel="A")
    kept = msgspec.structs.replace(first.taken[1], frames=frames)
    pair = msgspec.structs.replace(first.pairs[0][0], high=kept)
    first = msgspec.structs.replace(
        first, taken=(first.taken[0], kept), pairs=((pair, first.pairs[0][1]),)
    )
    others = [kit.make_site(1, index=1, channel="A"), kit.make_site(1, index=2, channel="B")]
    record = kit.add_field(writer, 1, sites=[first, *others])
    stored = series(writer.folder / record.file)
    assert list(stored)[1:4] == [
        "c0z0-repeat0-high",
        "c0z0-repeat0-high-frame0",
        "c0z0-repeat0-high-frame1",
    ]
    assert [name[:4] for name in list(stored)[4::2]] == ["c0z1", "c1z0"]
    np.testing.assert_array_equal(stored["c0z0-repeat0-high-frame1"], frames[1])
    assert record.sites[0].shots[1].kept_frames == 2
    pairs = list(open_dataset(writer.folder).pairs())
    names = [pair.name for pair in pairs]
    assert names == [f"field_0001-{site}-level0-repeat0" for site in ("c0z0", "c0z1", "c1z0")]
    np.testing.assert_array_equal(pairs[2].low, others[1].taken[0].image)


def test_the_line_is_what_was_returned(writer: DatasetWriter) -> None:
    record = kit.add_field(writer, 4, elapsed_s=1.5, overhead_s=0.25, split="test")
    assert list(open_dataset(writer.folder).records()) == [record]
    line = json.loads((writer.folder / "manifest.jsonl").read_text().splitlines()[1])
    assert (line["field"], line["split"], line["overhead_s"]) == (4, "test", 0.25)
    low, high = record.sites[0].shots
    assert (low.started_s, high.started_s) == (0.0, pytest.approx(1e-3))
    assert low.mean_adu == pytest.approx(kit.make_pixels(4000).mean())


def test_dark_frames_plan_and_header(tmp_path: Path) -> None:
    mean, variance = (np.full(kit.SHAPE, value, np.float32) for value in (100.25, 4.5))
    dark = Dark(exposure_us=10_000, frames=64, mean_adu=mean, variance_adu2=variance)
    folder = tmp_path / "data"
    DatasetWriter.create(folder, kit.make_header(), "# µ plan\n", [dark]).close()
    data = open_dataset(folder)
    assert data.header.darks == {"10000": "dark/dark_10000us.tif"}
    assert data.header.created_at
    with tifffile.TiffFile(folder / "dark" / "dark_10000us.tif") as tiff:
        np.testing.assert_array_equal(tiff.pages[0].asarray(), mean)
        np.testing.assert_array_equal(tiff.pages[1].asarray(), variance)
        facts = json.loads(tiff.pages[0].description)
    assert (facts["frames"], facts["exposure_us"]) == (64, 10_000)
    assert (folder / "plan.toml").read_text(encoding="utf-8") == "# µ plan\n"
    assert len((folder / "README.txt").read_text().splitlines()) == 10
    assert verify_dataset(folder).files == 2
    (folder / "plan.toml").write_text("other")
    assert list(verify_dataset(folder).problems) == ["plan.toml"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (12, 21)}, r"\(12, 20\), the data set \(12, 21\)"),
        ({"dtype": "|u1"}, "<u2, the data set |u1"),
    ],
)
def test_an_image_of_another_format_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    header = kit.make_header(**changes)
    with DatasetWriter.create(tmp_path / "data", header, kit.PLAN) as writer:
        with pytest.raises(RecordError, match=message):
            kit.add_field(writer, 0)
        assert list((writer.folder / "fields").iterdir()) == []


def test_what_makes_no_sense_is_refused(writer: DatasetWriter) -> None:
    kit.add_field(writer, 0)
    sites = [kit.make_site(1, verdicts=(kit.make_verdict("dark"),))]
    infinite = [kit.make_site(1, verdicts=(kit.make_verdict(psnr_db=float("inf")),))]
    before = (writer.folder / "manifest.jsonl").read_bytes()
    with pytest.raises(ValueError, match="field 0 is in the data set already"):
        kit.add_field(writer, 0, 1)
    with pytest.raises(ValueError, match="field 8 is not one of the 8"):
        kit.add_field(writer, 8)
    with pytest.raises(ValueError, match="without an accepted pair is not done"):
        kit.add_field(writer, 1, sites=sites)
    with pytest.raises(ValueError, match=r"field 1: .* not finite: .*psnr_db"):
        kit.add_field(writer, 1, sites=infinite)
    assert (writer.folder / "manifest.jsonl").read_bytes() == before
    assert [path.name for path in (writer.folder / "fields").iterdir()] == ["field_0000.ome.tif"]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    kit.make_dataset(folder)
    with pytest.raises(ConfigError, match=r"holds a data set already[\s\S]*--resume"):
        DatasetWriter.create(folder, kit.make_header(), kit.PLAN)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"not empty: thesis\.txt"):
        DatasetWriter.create(other, kit.make_header(), kit.PLAN)
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_killed_creation_can_be_begun_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    DatasetWriter.create(folder, kit.make_header(), kit.PLAN).close()
    (folder / "manifest.jsonl").unlink()
    (folder / ".manifest.jsonl.17.tmp").write_text("half")
    with DatasetWriter.create(folder, kit.make_header(), kit.PLAN) as writer:
        kit.add_field(writer, 0)
    assert verify_dataset(folder).problems == {}


def test_two_writers_cannot_have_one_data_set(writer: DatasetWriter) -> None:
    with pytest.raises(ConfigError, match=f"another collection .*process {os.getpid()}"):
        DatasetWriter.resume(writer.folder, kit.make_header())
    kit.add_field(writer, 0)
    writer.close()
    with DatasetWriter.resume(writer.folder, kit.make_header()) as second:
        assert second.found.settled == {0}


def test_memory_does_not_grow_with_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # only time, not memory
    header = kit.make_header(n_fields=50)
    with DatasetWriter.create(tmp_path / "data", header, kit.PLAN) as writer:
        sites = [kit.make_site(0)]
        for field in range(10):
            kit.add_field(writer, field, sites=sites)
        tracemalloc.start()
        try:
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            for field in range(10, 50):
                kit.add_field(writer, field, sites=sites)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # A record is about 3 kB: 40 of them would be 120.
    assert after - before < 40_000
