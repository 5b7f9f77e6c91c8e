"""The run folder: everything one run leaves behind, laid out so that the run can be repeated.

Knows: names and layout of the folder, the facts in run.json. Must not know: how streams are
written, what a summary means.

```
20250131-142500-confocal/
    run.json          who, when, with what: versions, machine, command line, cameras
    config.toml       the configuration as it was written (when it came from a file)
    config.json       the configuration as it was used, every default filled in
    raw/CAMERA/       part-0000.tif ... frames.jsonl index.json
    clean/CAMERA/     the same, for the denoised stream (when recorded)
    truth/CAMERA/     truth.tif: true electrons of a simulated camera (when asked for)
    logs/             messages of each stage
    summary.json      totals of the run; missing when the run was killed, until it is recovered
```
"""

from __future__ import annotations

import os
import platform
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.clock import now_ns, wall_time_text
from livedenoise.core.config import Config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import ConfigError, RecordError
from livedenoise.core.process_life import birth_of
from livedenoise.record.machine import Machine, this_machine
from livedenoise.record.raw_file import replace_file
from livedenoise.record.sidecar import SIDECAR_NAME

RUN_VERSION = 1
RUN_NAME = "run.json"
SUMMARY_NAME = "summary.json"
TRUTH_NAME = "truth.tif"
STREAMS = ("raw", "clean")

T = TypeVar("T")


class CameraRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one camera: itself, what it was asked for, and its constants as used."""

    info: CameraInfo | None = None
    prepared: Prepared | None = None
    constants: CameraConstants | None = None


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Content of run.json.

    ``created`` is wall-clock time (ISO 8601 with offset); ``created_ns`` is ``core.clock`` at that
    moment, so that the times of frames can be turned into wall-clock time. ``pid`` on ``host`` is
    the process that makes the run; with ``born`` it is told from a later one of the same number.
    """

    version: int
    run_id: str
    name: str
    created: str
    created_ns: int
    argv: list[str]
    machine: Machine
    cameras: dict[str, CameraRecord] = {}
    pid: int = 0
    born: str = ""
    host: str = ""


class RunFolder:
    """A run folder being filled. Made by ``create_run_folder``."""

    def __init__(self, path: Path, facts: RunFacts) -> None:
        self.path = path
        self._facts = facts

    @property
    def run_id(self) -> str:
        """Return the identity of the run, also in every frame header."""
        return self._facts.run_id

    def stream_folder(self, stream: str, camera: str) -> Path:
        """Return where a stream is recorded; the recorder makes it."""
        return self.path / stream / camera

    def truth_file(self, camera: str) -> Path:
        """Return where a simulated camera may leave its true electrons; its folder exists."""
        file = self.path / "truth" / camera / TRUTH_NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def note_camera(self, camera: str, record: CameraRecord) -> None:
        """Put what is known of a camera into run.json (again, when more is known).

        Raises
        ------
        RecordError
            If run.json cannot be written.
        """
        cameras = {**self._facts.cameras, camera: record}
        self._facts = msgspec.structs.replace(self._facts, cameras=cameras)
        write_json(self.path / RUN_NAME, self._facts)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json: whole, or not there.

        Raises
        ------
        RecordError
            If it cannot be written.
        """
        write_json(self.path / SUMMARY_NAME, summary)


def create_run_folder(
    base: Path,
    name: str,
    *,
    config: Config,
    config_text: str = "",
    argv: list[str] | None = None,
) -> RunFolder:
    """Create a new folder ``base/DATE-TIME-NAME`` with run.json and the configuration.

    Parameters
    ----------
    base : Path
        Made when it does not exist.
    name : str
        For people; nothing depends on it.
    config : Config
        The configuration as used.
    config_text : str
        The configuration file as the user wrote it, empty for none.
    argv : list of str, optional
        Command line, by default that of this process.

    Raises
    ------
    RecordError
        If it cannot be created.
    """
    moment = datetime.now(UTC).astimezone()
    created, created_ns = wall_time_text(), now_ns()
    path = _new_folder(base.resolve(), f"{moment:%Y%m%d-%H%M%S}-{name}")
    facts = RunFacts(
        version=RUN_VERSION,
        run_id=f"{moment:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        name=name,
        created=created,
        created_ns=created_ns,
        argv=list(sys.argv if argv is None else argv),
        machine=this_machine(),
        pid=os.getpid(),
        born=birth_of(os.getpid()) or "",
        host=platform.node(),
    )
    write_json(path / RUN_NAME, facts)
    if config_text:
        _write(path / "config.toml", config_text.encode("utf-8"))
    write_json(path / "config.json", config.model_dump(mode="json"))
    return RunFolder(path, facts)


class StreamFolder(NamedTuple):
    """One recorded stream of a run."""

    stream: str
    camera: str
    path: Path


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run folder as found. ``summary`` is None when the run did not end in order."""

    path: Path
    facts: RunFacts
    config: dict[str, Any]
    summary: dict[str, Any] | None
    streams: tuple[StreamFolder, ...]

    def cameras(self, stream: str) -> list[str]:
        """Return the cameras of which a stream was recorded."""
        return [folder.camera for folder in self.streams if folder.stream == stream]

    def constants(self, camera: str) -> CameraConstants | None:
        """Return the constants a camera was used with: noted at the start, else in the summary.

        Raises
        ------
        ConfigError
            If the summary's are not valid.
        """
        noted = self.facts.cameras.get(camera)
        if noted is not None and noted.constants is not None:
            return noted.constants
        for stream in (self.summary or {}).get("streams", ()):
            if stream.get("camera") == camera and stream.get("constants"):
                return _convert(stream["constants"], CameraConstants, self.path / SUMMARY_NAME)
        return None


def is_run_folder(path: Path) -> bool:
    """Return whether ``path`` is a run folder."""
    return (path / RUN_NAME).is_file()


def open_run(path: Path, *, damaged_ok: bool = False) -> Run:
    """Read what a run folder holds; pixels and sidecars are not touched.

    ``damaged_ok`` takes a damaged summary for none, and leaves the configuration unread.

    Raises
    ------
    ConfigError
        If it is not a run folder, or its run.json or summary.json is damaged.
    """
    if not is_run_folder(path):
        raise ConfigError(f"{path}: not a run folder: {RUN_NAME} is missing")
    facts = _convert(_read_json(path / RUN_NAME), RunFacts, path / RUN_NAME)
    if facts.version > RUN_VERSION:
        raise ConfigError(
            f"{path / RUN_NAME}: version {facts.version}, this program reads up to {RUN_VERSION}",
            "update livedenoise",
        )
    config, summary = path / "config.json", path / SUMMARY_NAME
    streams = [
        StreamFolder(stream, file.parent.name, file.parent)
        for stream in STREAMS
        for file in sorted((path / stream).glob(f"*/{SIDECAR_NAME}"))
    ]
    return Run(
        path=path,
        facts=facts,
        config=_read_table(config) if config.exists() and not damaged_ok else {},
        summary=_read_summary(summary, damaged_ok=damaged_ok),
        streams=tuple(streams),
    )


def _read_summary(path: Path, *, damaged_ok: bool) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return _read_table(path)
    except ConfigError:
        if damaged_ok:
            return None
        raise


def _new_folder(base: Path, name: str) -> Path:
    number = 0
    while True:
        number += 1
        path = base / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if base.exists() and not base.is_dir():
                raise RecordError(f"{base}: is a file, not a folder for runs") from None
        except OSError as error:
            raise RecordError(
                f"{path}: cannot be created: {error}", "choose another folder with --out"
            ) from error
        else:
            return path


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error}") from error


def write_json(path: Path, value: object) -> None:
    """Write a small JSON file: whole, or not there.

    Raises
    ------
    RecordError
        If it cannot be written.
    """
    _write(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _read_json(path: Path) -> object:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def _read_table(path: Path) -> dict[str, Any]:
    return _convert(_read_json(path), dict[str, Any], path)


def _convert(value: object, kind: type[T], path: Path) -> T:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{path}: damaged: {error}") from error
