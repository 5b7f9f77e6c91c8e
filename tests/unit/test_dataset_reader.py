"""Reading a data set: pairs, splits, damage, counts, and the verb that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import dataset_kit as kit
import numpy as np
import pytest
import tifffile

from livedenoise.cli import main
from livedenoise.collect import dataset_reader
from livedenoise.collect.dataset import DatasetWriter
from livedenoise.collect.dataset_reader import open_dataset, verify_dataset
from livedenoise.collect.dataset_summary import summarise_dataset
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.progress import Progress


def test_pairs_of_a_split_with_all_their_facts(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    verdict = kit.make_verdict(shift_px=(0.5, -1.25), shift_error_px=0.02)
    site = kit.make_site(6, kit.BRACKET, (verdict,), channel="DAPI")
    with DatasetWriter.create(folder, kit.make_header(), kit.PLAN) as writer:
        kit.add_field(writer, 5)
        kit.add_field(writer, 6, sites=[site], split="val")
    (pair,) = open_dataset(folder).pairs(split="val")
    assert (pair.name, pair.field, pair.split) == ("field_0006-c0z0-level0-repeat0", 6, "val")
    for image, taken in zip((pair.low, pair.high, pair.after), site.taken, strict=True):
        np.testing.assert_array_equal(image, taken.image)
    assert pair.shift_px == (0.5, -1.25)
    assert (pair.shift_error_px, pair.dose_ratio) == (0.02, 20.0)
    assert pair.exposures_us == (1000, 20_000)
    assert pair.verdict == verdict
    assert pair.site.channel == "DAPI"
    assert [one.field for one in open_dataset(folder).pairs()] == [5, 6]
    assert list(open_dataset(folder).pairs(split="test")) == []


def test_fields_are_opened_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    kit.make_dataset(folder)
    opened: list[tifffile.TiffFile] = []
    real = dataset_reader._open

    def watched(path: Path) -> tifffile.TiffFile:
        assert all(tiff.filehandle.closed for tiff in opened)
        opened.append(real(path))
        return opened[-1]

    monkeypatch.setattr(dataset_reader, "_open", watched)
    pairs = open_dataset(folder).pairs()
    assert opened == []
    next(pairs)
    assert len(opened) == 1
    assert len(list(pairs)) == 2


def test_a_data_set_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with DatasetWriter.create(folder, kit.make_header(), kit.PLAN) as writer:
        data = open_dataset(folder)
        assert list(data.pairs()) == []
        kit.add_field(writer, 0)
        with (folder / "manifest.jsonl").open("ab") as file:
            file.write(b'{"field":1,"atte')
        assert [pair.field for pair in data.pairs()] == [0]
        _, summary = summarise_dataset(folder)
        assert (summary.torn, summary.fields_done) == (True, 1)
        kit.add_field(writer, 1)
        assert [pair.field for pair in data.pairs()] == [0, 1]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    kit.make_dataset(folder)
    path = folder / "fields" / "field_0001.ome.tif"
    content = bytearray(path.read_bytes())
    content[-3] ^= 8
    path.write_bytes(content)
    data = open_dataset(folder)
    assert len(list(data.pairs())) == 3  # nobody asked
    with pytest.raises(RecordError, match=r"field_0001\.ome\.tif: was altered"):
        list(data.pairs(verify=True))
    path.write_bytes(content[:300])
    with pytest.raises(RecordError, match=r"field_0001\.ome\.tif"):
        list(data.pairs())
    path.write_bytes(b"not a TIFF")
    with pytest.raises(RecordError, match=r"field_0001\.ome\.tif: cannot be read"):
        list(data.pairs())
    path.unlink()
    with pytest.raises(RecordError, match=r"field_0001\.ome\.tif: cannot be read"):
        list(data.pairs())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2, this program reads"),
        ({"format": "other"}, "format 'other'"),
        ({"shape": "large"}, "not the header of a data set"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    kit.make_dataset(tmp_path / "data", 1)
    manifest = tmp_path / "data" / "manifest.jsonl"
    header, rest = manifest.read_text().split("\n", 1)
    manifest.write_text(json.dumps(json.loads(header) | change) + "\n" + rest)
    with pytest.raises(ConfigError, match=message):
        open_dataset(tmp_path / "data")


def test_unknown_keys_of_a_later_writer_are_ignored(tmp_path: Path) -> None:
    kit.make_dataset(tmp_path / "data", 1)
    manifest = tmp_path / "data" / "manifest.jsonl"
    found = manifest.read_text().splitlines()
    lines = [json.dumps(json.loads(line) | {"new": 1}) for line in found]
    manifest.write_text("\n".join(lines) + "\n")
    assert len(list(open_dataset(tmp_path / "data").pairs())) == 1


def test_the_summary_counts_pairs_reasons_and_dose(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    verdicts = (kit.make_verdict(psnr_db=30.0), kit.make_verdict("shift", "focus"))
    with DatasetWriter.create(folder, kit.make_header(), kit.PLAN) as writer:
        for field in range(3):
            kit.add_field(writer, field, sites=[kit.make_site(field, kit.LADDER, verdicts)])
        kit.add_field(writer, 3, sites=[kit.make_site(3, kit.LADDER)], split="test")
        bad = [kit.make_site(4, verdicts=(kit.make_verdict("dark"),))]
        kit.add_field(writer, 4, sites=bad, status="failed")
        kit.add_field(writer, 5, sites=bad, status="retry")
    _, found = summarise_dataset(folder)
    assert found.pairs == {"train": {"0": 3}, "test": {"0": 1, "1": 1}}
    assert found.rejected_by == {"shift": 3, "dark": 2}
    assert (found.pairs_accepted, found.pairs_rejected, found.attempts) == (5, 5, 6)
    assert (found.fields_done, found.fields_failed, found.fields_open) == (4, 1, 1)
    assert found.dose_us == 6 * 21_000
    assert found.dose_per_field_us == pytest.approx(6 * 21_000 / 5)
    assert found.levels["0"].psnr_db == pytest.approx((3 * 30 + 20) / 4)
    assert found.levels["1"].exposure_us == 500
    images = [*(folder / "fields").iterdir(), *(folder / "rejected").iterdir()]
    assert found.bytes_stored == sum(path.stat().st_size for path in images)


def test_the_verb_prints_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    kit.make_dataset(folder)
    assert main(["dataset", str(folder), "--verify", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["summary"]["pairs"] == {"train": {"0": 2}, "val": {"0": 1}}
    assert printed["verified"]["problems"] == {}
    assert printed["verified"]["files"] == 4
    (folder / "fields" / "field_0000.ome.tif").unlink()
    assert main(["dataset", str(folder), "--verify", "--json"]) == 5
    printed = json.loads(capsys.readouterr().out)
    assert list(printed["verified"]["problems"]) == ["fields/field_0000.ome.tif"]
    assert main(["dataset", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is None


def test_the_verb_says_it_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    kit.make_dataset(folder)
    (folder / "fields" / "field_0002.ome.tif").write_bytes(b"")
    assert main(["dataset", str(folder), "--verify"]) == 5
    text = capsys.readouterr().out
    assert "3 of 3 done" in text
    assert "3 of 4 files" in text
    assert "has 0 bytes" in "".join(text.split("\n"))


def test_verification_tells_its_progress(tmp_path: Path) -> None:
    kit.make_dataset(tmp_path / "data")
    seen: list[Progress] = []
    verified = verify_dataset(tmp_path / "data", seen.append)
    assert [one.done for one in seen] == [1, 2, 3]
    assert verified.bytes_read > 3 * 2 * 480
