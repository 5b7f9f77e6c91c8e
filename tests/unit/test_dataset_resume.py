"""Going on with a data set: torn manifests, full disks, other plans, missing files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import dataset_kit as kit
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livedenoise.collect.dataset import Dark, DatasetWriter
from livedenoise.collect.dataset_reader import open_dataset, verify_dataset
from livedenoise.collect.dataset_resume import COMPARED
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.record.raw_file import RawFile, open_existing
from livedenoise.testing.faults import (
    FailingWrite,
    Fault,
    FaultyFile,
    FullDisk,
    ShortWrites,
    TornWrite,
)

N_FIELDS = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished data set: field 1 needed two attempts, field 2 failed."""
    folder = tmp_path_factory.mktemp("whole") / "data"
    with DatasetWriter.create(folder, kit.make_header(n_fields=N_FIELDS), kit.PLAN) as writer:
        write_rest(writer)
    return folder


def write_rest(writer: DatasetWriter) -> None:
    bad = {"verdicts": (kit.make_verdict("shift"),)}
    for field, attempt in writer.found.left(writer.header.n_fields).items():
        if field == 1 and attempt == 0:
            kit.add_field(writer, 1, 0, sites=[kit.make_site(1, **bad)], status="retry")
        if field == 2:
            kit.add_field(writer, 2, 0, sites=[kit.make_site(2, **bad)], status="failed")
        else:
            kit.add_field(writer, field, int(field == 1))


def resumed(folder: Path, **changes: object) -> DatasetWriter:
    return DatasetWriter.resume(folder, kit.make_header(**({"n_fields": N_FIELDS} | changes)))


def assert_whole(folder: Path, n_fields: int = N_FIELDS) -> None:
    records = [(r.field, r.attempt, r.status) for r in open_dataset(folder).records()]
    expected = [(0, 0, "done"), (1, 0, "retry"), (1, 1, "done"), (2, 0, "failed"), (3, 0, "done")]
    assert sorted(records) == [one for one in expected if one[0] < n_fields]
    assert verify_dataset(folder).problems == {}
    listed = {name for r in open_dataset(folder).records() for name in r.sha256}
    images = [*(folder / "fields").iterdir(), *(folder / "rejected").iterdir()]
    assert {str(path.relative_to(folder)) for path in images} == listed


@given(share=st.floats(0, 1), tail=st.sampled_from([b"", b"\0\0\0", b"{}\n", b'{"field":3']))
@example(share=1.0, tail=b"")
@example(share=1.0, tail=b"{}\n")
@settings(max_examples=30, deadline=None)
def test_a_manifest_cut_at_any_byte_is_gone_on_with(whole: Path, share: float, tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(whole, Path(temporary) / "data"))
        manifest = folder / "manifest.jsonl"
        content = manifest.read_bytes()
        first = content.index(b"\n") + 1
        cut = first + round(share * (len(content) - first))
        manifest.write_bytes(content[:cut] + tail)
        lines = content[:cut].count(b"\n") - 1
        torn = len(content[:cut].rpartition(b"\n")[2]) + len(tail)
        with resumed(folder) as writer:
            found = writer.found
            assert found.torn_bytes == torn
            assert manifest.read_bytes() == content[: len(content[:cut]) + len(tail) - torn]
            # In the order written: 0 done, 1 retry, 1 done, 2 failed, 3 done.
            settled = [set(), {0}, {0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}]
            assert found.settled == settled[lines]
            assert found.attempts == ({1: 1} if lines == 2 else {})
            assert len(found.removed) == 5 - lines
            assert bool(found.notes()) == (bool(torn) or lines < 5)
            assert list(found.left(N_FIELDS)) == sorted(set(range(4)) - settled[lines])
            write_rest(writer)
        assert_whole(folder)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=15, deadline=None)
def test_without_a_whole_header_nothing_is_touched(whole: Path, share: float) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(whole, Path(temporary) / "data"))
        manifest = folder / "manifest.jsonl"
        content = manifest.read_bytes()
        kept = content[: round(share * content.index(b"\n"))]
        manifest.write_bytes(kept)
        with pytest.raises(ConfigError, match=r"manifest\.jsonl:1: not the header"):
            resumed(folder)
        assert manifest.read_bytes() == kept
        assert len(list((folder / "fields").iterdir())) == 3


def test_damage_before_the_last_line_is_an_error(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "data"))
    manifest = folder / "manifest.jsonl"
    lines = manifest.read_bytes().splitlines(keepends=True)
    lines[2] = b"{" + lines[2][9:]
    manifest.write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match=r"manifest\.jsonl:3: not a line of a manifest"):
        resumed(folder)
    with pytest.raises(ConfigError, match=r"manifest\.jsonl:3"):
        verify_dataset(folder)
    assert manifest.read_bytes() == b"".join(lines)
    assert len(list((folder / "fields").iterdir())) == 3


@pytest.mark.parametrize("key", COMPARED)
def test_what_must_be_equal_is_named_with_both_values(whole: Path, key: str) -> None:
    others = {"n_fields": 5, "shape": (20, 12), "roi": (4, 0, 20, 12), "binning": 2}
    others |= {"bit_depth": 16, "simulated": True}
    stored = getattr(open_dataset(whole).header, key)
    other = others.get(key, "other")
    with pytest.raises(ConfigError) as caught:
        resumed(whole, **{key: other})
    assert f"{key} is {stored!r} in the data set, {other!r} now" in caught.value.message
    assert "--resume" not in caught.value.message


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not a data set: manifest\.jsonl is missing"):
        resumed(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_and_altered_files_are_named(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "data"))
    (folder / "fields" / "field_0000.ome.tif").unlink()
    with (folder / "fields" / "field_0003.ome.tif").open("ab") as file:
        file.write(b"x")
    same_size = folder / "rejected" / "field_0002_attempt0.ome.tif"
    content = bytearray(same_size.read_bytes())
    content[-1] ^= 1
    same_size.write_bytes(content)
    with resumed(folder) as writer:
        missing, longer = writer.found.damaged
        assert writer.found.left(N_FIELDS) == {}
    assert "field_0000.ome.tif: is missing" in missing
    assert "field_0003.ome.tif: has " in longer
    problems = verify_dataset(folder).problems
    assert set(problems) == {
        "fields/field_0000.ome.tif",
        "fields/field_0003.ome.tif",
        "rejected/field_0002_attempt0.ome.tif",
    }
    assert "was altered" in problems["rejected/field_0002_attempt0.ome.tif"]


def test_files_of_other_people_stay(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "data"))
    fields = folder / "fields"
    theirs = [
        fields / "notes.txt",
        fields / "field_0000_copy.ome.tif",
        folder / "field_0099.ome.tif",
    ]
    ours = [fields / "field_0099.ome.tif", fields / ".field_0001.ome.tif.partial"]
    for path in (*theirs, *ours):
        path.write_bytes(b"?")
    with resumed(folder) as writer:
        assert writer.found.removed == [f"fields/{p.name}" for p in sorted(ours)]
    assert all(path.exists() for path in theirs)
    assert not any(path.exists() for path in ours)


def on_disk(disk: Fault) -> dict[str, Callable[[Path], RawFile]]:
    return {
        "open_file": disk,
        "open_manifest": lambda path: FaultyFile(open_existing(path), disk),
    }


@pytest.mark.parametrize("fault", [FailingWrite, TornWrite])
def test_a_disk_that_fails_at_any_write(
    tmp_path: Path, fault: type[Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
    header = kit.make_header(n_fields=2)
    messages: list[str] = []
    for at in range(1, 200):
        folder = tmp_path / f"{at}"
        disk = fault(at)  # type: ignore[call-arg]
        try:
            with DatasetWriter.create(folder, header, kit.PLAN, **on_disk(disk)) as writer:
                write_rest(writer)
        except RecordError as error:
            messages.append(error.message)
        if disk.n_writes < at:
            break
        if not (folder / "manifest.jsonl").exists():
            DatasetWriter.create(folder, header, kit.PLAN).close()
        assert_acknowledged_intact(folder)
        with resumed(folder, n_fields=2) as writer:
            assert writer.found.torn_bytes == 0
            write_rest(writer)
        assert_whole(folder, 2)
        shutil.rmtree(folder)
    assert len(messages) == at - 1 > 30
    assert all(str(tmp_path) in text and "injected fault" in text for text in messages)


def assert_acknowledged_intact(folder: Path) -> None:
    assert verify_dataset(folder).problems == {}
    temporary = [p for p in folder.rglob("*") if p.name.endswith((".partial", ".tmp"))]
    assert temporary == []


def test_a_full_disk_names_the_file_and_the_writer_can_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    disk = FullDisk(1 << 20)
    header = kit.make_header(n_fields=N_FIELDS)
    with DatasetWriter.create(folder, header, kit.PLAN, **on_disk(disk)) as writer:
        kit.add_field(writer, 0)
        disk.free_bytes = 700
        with pytest.raises(
            RecordError, match=r"field_0003\.ome\.tif: not written: .*No space"
        ) as e:
            kit.add_field(writer, 3)
        assert "--resume" in e.value.hint
        assert e.value.__cause__.errno == ENOSPC  # type: ignore[union-attr]
        assert_acknowledged_intact(folder)
        disk.free_bytes = 1 << 20
        kit.add_field(writer, 3)
    assert [r.field for r in open_dataset(folder).records()] == [0, 3]


def test_a_disk_that_is_full_before_it_begins_is_not_gone_on_with(tmp_path: Path) -> None:
    header = kit.make_header(n_fields=N_FIELDS)
    dark = np.zeros(kit.SHAPE, np.float32)
    darks = [Dark(exposure_us=1000, frames=2, mean_adu=dark, variance_adu2=dark)]
    folder = tmp_path / "data"
    with pytest.raises(RecordError, match=r"dark_1000us\.tif: not written") as caught:
        DatasetWriter.create(folder, header, kit.PLAN, darks, **on_disk(FullDisk(1200)))
    assert "--resume" not in str(caught.value)
    assert "there is no data set yet" in caught.value.hint
    DatasetWriter.create(folder, header, kit.PLAN, darks).close()


def test_short_writes_are_no_fault(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    header = kit.make_header(n_fields=N_FIELDS)
    disk = on_disk(ShortWrites(7))
    with DatasetWriter.create(folder, header, kit.PLAN, **disk) as writer:
        write_rest(writer)
    assert_whole(folder)
    pairs = list(open_dataset(folder).pairs())
    assert [pair.field for pair in pairs] == [0, 1, 3]
    for pair in pairs:
        np.testing.assert_array_equal(pair.low, kit.make_pixels(1000 * pair.field))
        np.testing.assert_array_equal(pair.high, kit.make_pixels(1000 * pair.field + 1))
