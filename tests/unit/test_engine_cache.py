"""The cache of compiled engines: keys, checksums, bounds, folders that cannot be used."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.engines.cache import EngineCache, cache_key, default_cache_dir

KEY, OTHER = "a" * 64, "b" * 64


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "new" / "folder")
    assert cache.load(KEY) is None
    assert cache.store(KEY, b"compiled") == ""
    assert cache.load(KEY) == b"compiled"
    assert cache.load(OTHER) is None
    assert [p.suffix for p in (tmp_path / "new" / "folder").iterdir()] == [".engine"]


def test_no_folder_means_no_cache() -> None:
    cache = EngineCache(None)
    assert cache.store(KEY, b"compiled") == ""
    assert cache.load(KEY) is None
    cache.touch(KEY)
    cache.discard(KEY, "never there")


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "foreign"])
def test_a_damaged_entry_is_removed_and_never_returned(tmp_path: Path, damage: str) -> None:
    cache = EngineCache(tmp_path)
    cache.store(KEY, bytes(range(256)))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    damaged = {
        "truncate": content[:-1],
        "flip": content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        "empty": b"",
        "foreign": b"<xml/>" * 100,
    }[damage]
    path.write_bytes(damaged)
    assert cache.load(KEY) is None
    assert not path.exists()
    cache.store(KEY, b"built again")
    assert cache.load(KEY) == b"built again"


def test_entries_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, max_bytes=3500)
    keys = [letter * 64 for letter in "abcd"]
    for age, key in enumerate(keys[:3]):
        cache.store(key, bytes(1000))
        os.utime(tmp_path / f"{key}.engine", ns=(age * 10**9, age * 10**9))
    cache.touch(keys[0])
    cache.store(keys[3], bytes(1000))
    assert [cache.load(key) is not None for key in keys] == [True, False, True, True]


def test_the_newest_entry_stays_even_above_the_bound(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path, max_bytes=10)
    cache.store(KEY, bytes(1000))
    assert cache.load(KEY) == bytes(1000)


def test_temporary_files_of_dead_writers_are_removed(tmp_path: Path) -> None:
    old, young = tmp_path / ".writing-old", tmp_path / ".writing-young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, ns=(0, 0))
    EngineCache(tmp_path).store(KEY, b"compiled")
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EngineCache(tmp_path / "file")
    assert "not written" in cache.store(KEY, b"compiled")
    assert cache.load(KEY) is None


def test_a_failed_write_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    assert "No space left" in EngineCache(tmp_path).store(KEY, b"compiled")
    assert list(tmp_path.iterdir()) == []


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), min_size=1))
def test_keys_do_not_depend_on_the_order_of_facts(facts: dict[str, int | str]) -> None:
    backwards = dict(reversed(facts.items()))
    assert cache_key(**facts) == cache_key(**backwards)


def test_keys_differ_with_every_fact() -> None:
    keys = {
        cache_key(shape=(1, 2), dtype="<u2"),
        cache_key(shape=(2, 1), dtype="<u2"),
        cache_key(shape=(1, 2), dtype="|u1"),
        cache_key(shape=(1, 2), dtype="<u2", threads=2),
    }
    assert len(keys) == 4


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEDENOISE_CACHE", "named-folder")
    assert default_cache_dir() == Path("named-folder")
    monkeypatch.delenv("LIVEDENOISE_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "xdg")
    assert default_cache_dir() == Path("xdg/livedenoise/engines")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache/livedenoise/engines"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "local")
    assert default_cache_dir() == Path("local/livedenoise/engines")
