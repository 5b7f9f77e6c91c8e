"""What was changed in a core, so that it can be put back. With a journal, also after a SIGKILL.

Knows: how to read, set and restore each kind of setting. Must not know: why something is changed.

The value before the first change of a setting is what counts; restoring goes backwards. With a
journal, each value is on disk before the change is made: whoever comes after a killed process
finds it there and restores what its predecessor found.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, CoreGoneError

JOURNAL_PREFIX = "changed-"
"""Begins the file names of journals, in a run's folder of logs."""

Kind = Literal["property", "exposure", "roi", "camera", "buffer_mb", "auto_shutter"]


class Before(msgspec.Struct, frozen=True):
    """One setting as it was: ``key`` names the device and property, ``value`` is text."""

    kind: Kind
    key: tuple[str, ...]
    value: str

    @property
    def name(self) -> str:
        """Return the setting's name for people."""
        return ".".join((self.kind, *self.key))


class Changes:
    """Changes settings of a core and puts them back.

    Parameters
    ----------
    core : Core
        The core.
    journal : Path, optional
        File that outlives this process; removed once everything was restored.

    Raises
    ------
    CameraError
        If a journal is there and cannot be read.
    """

    def __init__(self, core: Core, journal: Path | None = None) -> None:
        self._core = core
        self._journal = journal
        self._before: list[Before] = []
        self.inherited = False
        """Whether a predecessor left changes that are ours to restore."""
        if journal is not None and journal.exists():
            self._before = _read(journal)
            self.inherited = True

    def set_property(self, device: str, name: str, value: str) -> None:
        """Set a property, unless it has that value."""
        now = self._core.property(device, name)
        if now != value:
            self._note("property", (device, name), now)
            self._core.set_property(device, name, value)

    def set_preset(self, group: str, preset: str) -> None:
        """Apply a preset of a configuration group."""
        for device, name, _ in self._core.preset_settings(group, preset):
            # A preset may hold what cannot be read back: only what can be restored is noted.
            with contextlib.suppress(CameraError):
                self._note("property", (device, name), self._core.property(device, name))
        self._core.call("setConfig", group, preset)
        self._core.call("waitForConfig", group, preset)

    def set_exposure_ms(self, exposure_ms: float) -> None:
        """Set the exposure."""
        self._note("exposure", (), repr(self._core.exposure_ms()))
        self._core.call("setExposure", exposure_ms)

    def set_roi(self, roi: tuple[int, int, int, int]) -> None:
        """Set the region, in pixels as delivered."""
        self._note_roi()
        self._core.call("setROI", *roi)

    def clear_roi(self) -> None:
        """Take the full sensor."""
        self._note_roi()
        self._core.call("clearROI")

    def set_camera(self, label: str) -> None:
        """Make another device the core's camera."""
        self._note("camera", (), self._core.camera())
        self._core.call("setCameraDevice", label)

    def set_buffer_mb(self, buffer_mb: int) -> None:
        """Set the size of the sequence buffer."""
        now = int(self._core.number("getCircularBufferMemoryFootprint"))
        if now != buffer_mb:
            self._note("buffer_mb", (), str(now))
            self._core.call("setCircularBufferMemoryFootprint", buffer_mb)

    def note_format(self) -> None:
        """Remember region and exposure before anything else is changed: restored last.

        Presets and properties may change both.
        """
        self._note_roi()
        self._note("exposure", (), repr(self._core.exposure_ms()))

    def close_shutter(self) -> bool:
        """Keep an automatic shutter closed; return whether there is one."""
        if not (self._core.flag("getAutoShutter") and self._core.text("getShutterDevice")):
            return False
        self._note("auto_shutter", (), "True")
        self._core.call("setAutoShutter", False)
        self._core.call("setShutterOpen", False)
        return True

    def free_shutter(self) -> None:
        """Let an automatic shutter move again."""
        self._core.call("setAutoShutter", True)
        self._before = [one for one in self._before if one.kind != "auto_shutter"]
        self._write()

    def restore(self) -> None:
        """Put everything back, the last change first; what fails does not stop the rest.

        Raises
        ------
        CameraError
            Naming every setting that could not be restored, with the value it should have. The
            journal then stays.
        """
        failed = []
        while self._before:
            before = self._before.pop()
            try:
                self._put_back(before)
            except CoreGoneError as error:
                # Kept: there may be another way to it.
                self._before.append(before)
                left = ", ".join(one.name for one in reversed(self._before))
                raise CoreGoneError(
                    f"not restored, it is gone: {left}",
                    "load the hardware configuration again, once Micro-Manager runs",
                ) from error
            except CameraError as error:
                failed.append(f"{before.name} was {before.value}: {error.message}")
        if failed:
            raise CameraError(
                "not everything could be restored in Micro-Manager: " + "; ".join(failed),
                "set these by hand, or load the hardware configuration again",
            )
        if self._journal is not None:
            self._journal.unlink(missing_ok=True)
        self.inherited = False

    def _note_roi(self) -> None:
        self._note("roi", (), " ".join(str(value) for value in self._core.roi()))

    def _note(self, kind: Kind, key: tuple[str, ...], value: str) -> None:
        if any((known.kind, known.key) == (kind, key) for known in self._before):
            return
        self._before.append(Before(kind, key, value))
        self._write()

    def _write(self) -> None:
        if self._journal is not None:
            _write(self._journal, self._before)

    def _put_back(self, before: Before) -> None:
        core, value = self._core, before.value
        match before.kind:
            case "property":
                device, name = before.key
                if core.property(device, name) != value:
                    core.set_property(device, name, value)
            case "exposure":
                core.call("setExposure", float(value))
            case "roi":
                x, y, width, height = (int(part) for part in value.split())
                if core.roi() != (x, y, width, height):
                    core.call("clearROI")
                if core.roi() != (x, y, width, height):
                    core.call("setROI", x, y, width, height)
            case "camera":
                core.call("setCameraDevice", value)
            case "buffer_mb":
                core.call("setCircularBufferMemoryFootprint", int(value))
            case "auto_shutter":
                core.call("setAutoShutter", value == "True")


def left_changed(folder: Path) -> list[str]:
    """Return what the journals in a folder say was never put back, one line a camera."""
    found = []
    for journal in sorted(folder.glob(f"{JOURNAL_PREFIX}*.json")):
        try:
            was = "; ".join(f"{one.name} was {one.value}" for one in _read(journal))
        except CameraError as error:
            was = error.message
        found.append(f"a killed process left Micro-Manager changed ({journal.name}): {was}")
    return found


def _read(journal: Path) -> list[Before]:
    try:
        return msgspec.json.decode(journal.read_bytes(), type=list[Before])
    except (OSError, msgspec.DecodeError) as error:
        raise CameraError(
            f"{journal}: what a killed camera process had changed cannot be read: {error}",
            "check the camera's settings in Micro-Manager by hand, then remove this file",
        ) from error


def _write(journal: Path, before: list[Before]) -> None:
    """Replace the journal as a whole: a kill leaves the old one or the new one."""
    new = journal.with_suffix(".new")
    try:
        new.write_bytes(msgspec.json.encode(before))
        new.replace(journal)
    except OSError as error:
        raise CameraError(
            f"{journal}: cannot be written: {error}", "the run folder must be writable"
        ) from error
