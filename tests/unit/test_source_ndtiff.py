"""NDTiff data sets come back bit for bit, in file order, without a word on standard output."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ndstorage import NDTiffDataset
from source_kit import assert_source, make_stack

from livedenoise.acquire.sources import open_source
from livedenoise.core.errors import ConfigError


def write_ndtiff(folder: Path, axes: list[dict[str, Any]], stack: np.ndarray) -> None:
    """Write a data set, and cut its file: ndstorage allocates 4 GiB for it."""
    dataset = NDTiffDataset(str(folder), summary_metadata={}, writable=True)
    for k, coordinates in enumerate(axes):
        facts = {"ElapsedTime-ms": 20.0 * k + 7, "Exposure": 15.0, "BitDepth": 12}
        dataset.put_image(coordinates, stack[k], facts)
    # ndstorage itself leaves this one open.
    dataset.current_writer.reader.close()
    dataset.finish()
    dataset.close()


def test_ndtiff_in_file_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = make_stack(5)
    write_ndtiff(tmp_path / "set", [{"time": k} for k in range(5)], stack)
    assert assert_source(tmp_path / "set", stack) == ()
    with open_source(tmp_path / "set") as source:
        assert (source.bit_depth, source.exposure_us) == (12, 15_000)
        assert (source.period_ns, source.time_ns(4)) == (20_000_000, 80_000_000)
    # Standard output belongs to --json.
    assert capsys.readouterr().out == ""


def test_ndtiff_of_several_axes_is_flattened_and_says_so(tmp_path: Path) -> None:
    stack = make_stack(4)
    axes = [{"time": t, "channel": c} for t in range(2) for c in ("red", "green")]
    write_ndtiff(tmp_path / "set", axes, stack)
    [note] = assert_source(tmp_path / "set", stack)
    assert note == "axes channel 2, time 2 flattened to 4 frames in file order"


def test_truncated_ndtiff_is_named_with_the_frame(tmp_path: Path) -> None:
    stack = make_stack(66)
    folder = tmp_path / "set"
    write_ndtiff(folder, [{"time": k} for k in range(66)], stack)
    [file] = folder.glob("*.tif")
    with open_source(folder) as source:
        place = source._places[65].offset  # type: ignore[attr-defined]
    with file.open("r+b") as opened:
        opened.truncate(place + 30)
    with open_source(folder) as source:
        np.testing.assert_array_equal(source.read(64), stack[64])
        with pytest.raises(ConfigError, match=r"NDTiffStack\.tif: frame 65: the file ends 130"):
            source.read(65)
        with pytest.raises(ConfigError, match=r"set: frame 65: its metadata cannot be read"):
            source.time_ns(65)
    index = folder / "NDTiff.index"
    index.write_bytes(index.read_bytes()[:-7])
    with pytest.raises(ConfigError, match=r"set: cannot be read as NDTiff"):
        open_source(folder)


def test_ndtiff_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "NDTiff.index").touch()
    real = builtins.__import__

    def absent(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("ndstorage"):
            raise ImportError("No module named 'ndstorage'")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="not installed") as caught:
        open_source(tmp_path)
    assert caught.value.hint == 'pip install "livedenoise[ndtiff]"'
