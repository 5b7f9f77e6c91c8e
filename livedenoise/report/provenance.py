"""Where a report came from: program, versions, command, moment.

Knows: the packages a report depends on and where a clone keeps its commit. Must not know: reports.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from livedenoise import __version__
from livedenoise.core.clock import wall_time_text

_CLONE = Path(__file__).resolve().parents[2]
_PACKAGES = ("numpy", "scipy", "tifffile", "matplotlib")


def provenance_rows(command: Sequence[str] | None = None) -> tuple[tuple[str, str], ...]:
    """Return names and values for the foot of a report.

    Parameters
    ----------
    command : sequence of str, optional
        Arguments after ``livedenoise``; default those of this process.
    """
    arguments = sys.argv[1:] if command is None else list(command)
    rows = [
        ("command", f"livedenoise {shlex.join(arguments)}"),
        ("made", wall_time_text()),
        ("livedenoise", __version__),
    ]
    commit = commit_of(_CLONE)
    rows += [("commit", commit)] if commit else []
    rows += [("Python", platform.python_version()), ("system", platform.platform(terse=True))]
    return (*rows, *((name, _version(name)) for name in _PACKAGES))


def commit_of(clone: Path) -> str:
    """Return the commit a clone stands at (without local changes); "" where there is none."""
    git = clone / ".git"
    head = _text(git / "HEAD")
    if not head.startswith("ref: "):
        return head[:12]
    name = head.removeprefix("ref: ")
    packed = (line.partition(" ") for line in _text(git / "packed-refs").splitlines())
    found = _text(git / name) or next((hash_ for hash_, _, ref in packed if ref == name), "")
    return found[:12]


def _text(path: Path) -> str:
    """Return a small file's text; "" when it is not there: an installed package has no clone."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
