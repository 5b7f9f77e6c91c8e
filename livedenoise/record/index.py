"""index.json: what a recording holds, as one small file, from the totals of its sidecar.

Knows: its content, how it is written whole. Must not know: how the totals came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.record.part import PartSummary, part_name
from livedenoise.record.raw_file import OpenFile, open_new, replace_file
from livedenoise.record.sidecar import SIDECAR_VERSION
from livedenoise.record.tally import PartTally, Tally

INDEX_NAME = "index.json"


class RecordSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a recording holds; also the content of index.json.

    Attributes
    ----------
    frames : int
        Frames acknowledged.
    bytes : int
        Bytes of their pixels.
    gaps : int
        Gap lines in the sidecar.
    missing : dict
        Frames named in them, by reason.
    out_of_order : int
        Frames whose number had been passed already; they are recorded all the same.
    complete : bool
        True when every frame handed over was written; False after any error.
    error : str
        The first error, empty for none.
    resumed : int
        Recorders that were killed and succeeded.
    torn_bytes : int
        Bytes of half sidecar lines that the successors cut off.
    recovered : bool
        True when this was written by ``livedenoise recover``, not by a recorder.
    notes : tuple of str
        What successors and ``recover`` found, for people.
    """

    version: int
    stream: str
    run_id: str
    camera: str
    frames: int
    bytes: int
    parts: tuple[PartSummary, ...]
    gaps: int
    missing: dict[str, int]
    out_of_order: int
    complete: bool
    error: str
    resumed: int = 0
    torn_bytes: int = 0
    recovered: bool = False
    notes: tuple[str, ...] = ()


def summarise(
    tally: Tally,
    stream: str,
    sizes: Mapping[int, int],
    *,
    error: str,
    recovered: bool = False,
    notes: tuple[str, ...] = (),
) -> RecordSummary:
    """Return the summary of a recording.

    Parameters
    ----------
    sizes : mapping
        Size in bytes of each part file by its number.
    """
    epoch = tally.epoch
    return RecordSummary(
        version=SIDECAR_VERSION,
        stream=stream,
        run_id="" if epoch is None else epoch.run_id,
        camera="" if epoch is None else epoch.camera,
        frames=tally.frames,
        bytes=tally.bytes,
        parts=tuple(_part(part, sizes.get(part.number, 0)) for part in tally.parts.values()),
        gaps=tally.gaps,
        missing=dict(tally.missing),
        out_of_order=tally.out_of_order,
        complete=not error,
        error=error,
        resumed=tally.resumed,
        torn_bytes=tally.torn_bytes,
        recovered=recovered,
        notes=notes,
    )


def write_index(
    folder: Path, summary: RecordSummary, open_file: OpenFile = open_new
) -> RecordSummary:
    """Write index.json, whole or not at all; return the summary, with the error if it failed."""
    content = msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"
    try:
        replace_file(folder / INDEX_NAME, content, open_file)
    except OSError as error:
        text = f"{folder / INDEX_NAME}: not written: {error}"
        error_text = f"{summary.error}; {text}" if summary.error else text
        return msgspec.structs.replace(summary, complete=False, error=error_text)
    return summary


def read_index(folder: Path) -> RecordSummary | None:
    """Return the content of index.json, None when there is none.

    Raises
    ------
    ConfigError
        If it is damaged.
    """
    path = folder / INDEX_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=RecordSummary)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: damaged: {error}") from error


def remove_index(folder: Path) -> None:
    """Remove index.json, if there is one: the recording goes on.

    Raises
    ------
    RecordError
        If it cannot be removed.
    """
    try:
        (folder / INDEX_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"{folder / INDEX_NAME}: cannot be removed: {error}") from error


def _part(part: PartTally, size: int) -> PartSummary:
    return PartSummary(
        file=part_name(part.number),
        pages=part.pages,
        bytes=size,
        epoch=part.epoch.epoch,
        height=part.epoch.height,
        width=part.epoch.width,
        dtype=part.epoch.dtype,
        first_seq=part.first_seq,
        last_seq=part.last_seq,
    )
