"""Compiled engines kept on disk, so that the next start is fast.

Knows: keys, files, checksums, the size bound. Must not know: what the bytes mean to a runtime.

An entry is one file: a magic word, the SHA-256 of the payload, the payload. It is written under a
temporary name and renamed. Whatever fails its checksum is removed and built again: a cache never
stops a run, and a runtime is never handed damaged bytes. A folder that cannot be written means no
cache, said in a note.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from livedenoise.core.log import get_logger

MAX_BYTES = 1 << 30
"""Above this the entries used longest ago are removed."""

_MAGIC = b"livedenoise-engine-1\n"
_SUFFIX = ".engine"
_TEMPORARY = ".writing-"
_ABANDONED_NS = 3600 * 10**9
"""A temporary file older than this was left by a writer that died."""

_log = get_logger(__name__)


def default_cache_dir() -> Path:
    """Return the user's cache folder for compiled engines (it may not exist yet).

    ``LIVEDENOISE_CACHE`` names it outright; else ``livedenoise/engines`` under XDG_CACHE_HOME or
    ~/.cache (Linux), ~/Library/Caches (macOS), LOCALAPPDATA (Windows).
    """
    named = os.environ.get("LIVEDENOISE_CACHE")
    if named:
        return Path(named)
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        xdg = os.environ.get("XDG_CACHE_HOME")
        base = Path(xdg) if xdg else Path.home() / ".cache"
    return base / "livedenoise" / "engines"


def cache_key(**facts: object) -> str:
    """Return the name of an entry: SHA-256 over everything the compiled engine depends on."""
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


class EngineCache:
    """Entries of one folder.

    Parameters
    ----------
    folder : Path or None
        None keeps nothing.
    max_bytes : int
        Size bound of all entries together.
    """

    def __init__(self, folder: Path | None, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def load(self, key: str) -> bytes | None:
        """Return an entry's payload; None when there is none, or it was damaged (logged)."""
        if self._folder is None:
            return None
        path = self._folder / (key + _SUFFIX)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("engine cache: %s cannot be read: %s", path, error)
            return None
        payload = _unpack(content)
        if payload is None:
            self.discard(key, "its checksum is wrong")
        return payload

    def touch(self, key: str) -> None:
        """Mark an entry as just used."""
        if self._folder is None:
            return
        try:
            os.utime(self._folder / (key + _SUFFIX))
        except OSError as error:  # a read-only folder: the order of removal stays as it was
            _log.debug("engine cache: %s", error)

    def discard(self, key: str, reason: str) -> None:
        """Remove an entry that cannot be used; it will be built again."""
        if self._folder is None:
            return
        path = self._folder / (key + _SUFFIX)
        _log.warning("engine cache: %s is not usable (%s): it is built again", path, reason)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("engine cache: %s cannot be removed: %s", path, error)

    def store(self, key: str, payload: bytes) -> str:
        """Keep an entry; return an empty string, or why it could not be kept."""
        if self._folder is None:
            return ""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(self._folder / (key + _SUFFIX), _pack(payload))
            self._prune(keep=key + _SUFFIX)
        except OSError as error:
            note = f"engine cache not written: {error}"
            _log.warning("%s", note)
            return note
        return ""

    def _prune(self, keep: str) -> None:
        if self._folder is None:
            return
        found = _listed(self._folder, f"*{_SUFFIX}")
        oldest_ns = time.time_ns() - _ABANDONED_NS
        for mtime_ns, _, path in _listed(self._folder, f"{_TEMPORARY}*"):
            if mtime_ns < oldest_ns:
                path.unlink(missing_ok=True)
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._max_bytes:
                return
            if path.name != keep:
                path.unlink(missing_ok=True)
                total -= size


def _listed(folder: Path, pattern: str) -> list[tuple[int, int, Path]]:
    """Return (modification time, size, path) of the files there; others may remove them too."""
    found = []
    for path in folder.glob(pattern):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        found.append((facts.st_mtime_ns, facts.st_size, path))
    return found


def _pack(payload: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def _unpack(content: bytes) -> bytes | None:
    start = len(_MAGIC) + hashlib.sha256().digest_size
    payload = content[start:]
    expected = _MAGIC + hashlib.sha256(payload).digest()
    return payload if content[:start] == expected else None


def _write_atomically(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
