"""What was changed in a core, so that it can be put back. With a journal, also after a SIGKILL.

Knows: how to read, set and restore each kind of setting. Must not know: why something is changed.

The value before the first change of a setting is what counts; restoring goes backwards. With a
journal, each value is on disk before the change is made: whoever comes after a killed process
finds it there and restores what its predecessor found.

A shutter that was opened is the exception: it is closed, whatever it was, and first of all. Light
on a sample that nobody watches is worse than a setting that is not as before.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import msgspec

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core, CoreGoneError
from livedenoise.micromanager.moving import MoveLimits, go_xy, go_z, xy_of, z_of
from livedenoise.micromanager.putting_back import Before, Kind, put_back

JOURNAL_PREFIX = "changed-"
"""Begins the file names of journals, in a run's folder of logs."""


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
        self._presets: set[tuple[str, str]] = set()
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
        """Apply a preset of a configuration group.

        What it sets is asked the first time only: over the bridge that takes long.
        """
        if (group, preset) not in self._presets:
            for device, name, _ in self._core.preset_settings(group, preset):
                if self._noted("property", (device, name)):
                    continue
                # A preset may hold what cannot be read back: only what can be restored is noted.
                with contextlib.suppress(CameraError):
                    self._note("property", (device, name), self._core.property(device, name))
            self._presets.add((group, preset))
        self._core.call("setConfig", group, preset)
        self._core.call("waitForConfig", group, preset)

    def set_exposure_ms(self, exposure_ms: float) -> None:
        """Set the exposure."""
        self._note_exposure()
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
        self._note_exposure()

    def move_xy(
        self,
        label: str,
        target: tuple[float, float],
        limits: MoveLimits,
        aborted: threading.Event | None = None,
    ) -> None:
        """Send an XY stage somewhere (x, y in micrometres) and wait until it is there."""
        if not self._noted("xy", (label,)):
            self._note("xy", (label,), " ".join(repr(value) for value in xy_of(self._core, label)))
        go_xy(self._core, label, target, limits, aborted)

    def move_z(
        self,
        label: str,
        target_um: float,
        limits: MoveLimits,
        aborted: threading.Event | None = None,
    ) -> None:
        """Send a focus drive somewhere and wait until it is there."""
        self.note_z(label)
        go_z(self._core, label, target_um, limits, aborted)

    def note_z(self, label: str) -> None:
        """Remember where a focus drive stands, before somebody else moves it: an autofocus."""
        if not self._noted("z", (label,)):
            self._note("z", (label,), repr(z_of(self._core, label)))

    def set_autofocus(self, label: str) -> None:
        """Make another device the core's autofocus device."""
        now = self._core.text("getAutoFocusDevice")
        if now != label:
            self._note("autofocus", (), now)
            self._core.call("setAutoFocusDevice", label)

    def set_autofocus_offset(self, label: str, offset_um: float) -> None:
        """Set the offset of the core's autofocus device, which is ``label``."""
        if not self._noted("autofocus_offset", (label,)):
            now = repr(self._core.number("getAutoFocusOffset"))
            self._note("autofocus_offset", (label,), now)
        self._core.call("setAutoFocusOffset", float(offset_um))

    def set_continuous_focus(self, label: str, *, is_on: bool) -> None:
        """Switch the focus lock of the core's autofocus device, which is ``label``, on or off."""
        now = self._core.flag("isContinuousFocusEnabled")
        if now != is_on:
            self._note("continuous_focus", (label,), repr(now))
            self._core.call("enableContinuousFocus", is_on)

    def set_auto_shutter(self, *, is_on: bool) -> None:
        """Let the core open and close its shutter by itself, or not."""
        now = self._core.flag("getAutoShutter")
        if now != is_on:
            self._note("auto_shutter", (), repr(now))
            self._core.call("setAutoShutter", is_on)

    def set_shutter(self, label: str, *, is_open: bool) -> None:
        """Open or close a shutter; at the end it is closed, whatever it was."""
        if is_open:
            self._note("shutter", (label,), "False")
        self._core.call("setShutterOpen", label, is_open)

    def darken(self) -> None:
        """Close every shutter that was opened."""
        for one in self._before:
            if one.kind == "shutter":
                put_back(self._core, one)

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
        self._before.sort(key=lambda one: one.turn)
        self._presets.clear()
        while self._before:
            before = self._before.pop()
            try:
                put_back(self._core, before)
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

    def _note_exposure(self) -> None:
        if not self._noted("exposure", ()):
            self._note("exposure", (), repr(self._core.exposure_ms()))

    def _noted(self, kind: Kind, key: tuple[str, ...]) -> bool:
        return any((known.kind, known.key) == (kind, key) for known in self._before)

    def _note(self, kind: Kind, key: tuple[str, ...], value: str) -> None:
        if self._noted(kind, key):
            return
        self._before.append(Before(kind, key, value))
        self._write()

    def _write(self) -> None:
        if self._journal is not None:
            _write(self._journal, self._before)


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
