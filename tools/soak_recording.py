"""A recorded stream read as its format is documented, with no code of the product.

Knows: the lines of a sidecar. Must not know: what they promise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


class Recording(msgspec.Struct, kw_only=True):
    """The lines of one sidecar: plain data, in their order."""

    folder: Path
    content: bytes
    lines: list[dict[str, Any]]
    problems: list[str]

    @property
    def frames(self) -> list[dict[str, Any]]:
        """Return the frame lines."""
        return [line for line in self.lines if line["kind"] == "frame"]

    @property
    def gaps(self) -> list[dict[str, Any]]:
        """Return the gap lines."""
        return [line for line in self.lines if line["kind"] == "gap"]


def read_recording(folder: Path) -> Recording:
    """Read a sidecar; a line that is not JSON is a problem unless it is the torn last one."""
    path = folder / "frames.jsonl"
    content = path.read_bytes() if path.is_file() else b""
    found = Recording(folder=folder, content=content, lines=[], problems=[])
    if not content:
        found.problems.append(f"{path}: missing or empty")
    whole = content[: content.rfind(b"\n") + 1]
    for number, text in enumerate(whole.splitlines(), start=1):
        try:
            found.lines.append(msgspec.json.decode(text, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            found.problems.append(f"{path}:{number}: {error}")
    return found


def part_path(folder: Path, number: int) -> Path:
    """Return a part file of a stream."""
    return folder / f"part-{number:04d}.tif"
