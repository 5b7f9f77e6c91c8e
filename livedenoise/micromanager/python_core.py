"""Micro-Manager's core in this process: our own through pycromanager, or a user's.

Knows: how pymmcore's objects are called and how its errors look. Must not know: which camera,
which configuration of ours.

Every call releases the interpreter's lock while it waits (pymmcore), and a core may be called from
several threads at once. One of them only may pop frames.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from livedenoise.core.errors import CameraError
from livedenoise.core.frame import frame_nbytes
from livedenoise.micromanager.core import (
    Core,
    CoreVersions,
    IncompleteFrameError,
    NoFrameError,
    Pixels,
    Taken,
)
from livedenoise.micromanager.tags import CHANNEL, TAGS, FrameTags, parse_tags
from livedenoise.micromanager.versions import explain_load_error, missing_packages

DEFAULT_BUFFER_MB = 1024
_SETTLE_S = 0.05
_ERRORS = (RuntimeError, ValueError, IndexError, OSError, MemoryError, TypeError, SystemError)
"""What pymmcore raises. TypeError: arguments another version does not take; SystemError: a frame
whose camera was unloaded."""


class PythonCore(Core):
    """A pymmcore core.

    Parameters
    ----------
    raw : pymmcore.CMMCore
        The core; also pycromanager's and pymmcore-plus's, which derive from it.
    owned : bool
        Whether ``close`` ends the core as well.
    """

    backend = "python"
    cheap_tags = True
    exposure_sequences = True

    def __init__(self, raw: Any, *, owned: bool) -> None:  # noqa: ANN401 - pymmcore has no types
        try:
            import pymmcore
        except ImportError as error:
            raise missing_packages(error) from error

        self._raw: Any = raw
        # Its own methods, whatever a derived class made of them (pymmcore-plus).
        self._class: Any = pymmcore.CMMCore
        self._metadata: Any = pymmcore.Metadata
        self._owned = owned
        if not isinstance(raw, pymmcore.CMMCore):
            raise CameraError(
                f"{type(raw).__name__} is not a Micro-Manager core of this process",
                "pass a pymmcore.CMMCore, pycromanager's Core() of the python backend, or a "
                "pymmcore_plus.CMMCorePlus",
            )

    @classmethod
    def around(cls, raw: object) -> PythonCore:
        """Return a core around one that belongs to somebody else in this process.

        Raises
        ------
        CameraError
            If it is not a Micro-Manager core.
        """
        return cls(raw, owned=False)

    def call(self, name: str, *args: object) -> object:
        """See ``Core.call``."""
        method = getattr(self._class, name, None)
        if method is None:
            raise CameraError(
                f"this pymmcore has no {name}", "install a newer one; livedenoise check names it"
            )
        try:
            return method(self._alive(), *args)
        except _ERRORS as error:
            raise _refused(name, args, error) from error

    def versions(self) -> CoreVersions:
        """See ``Core.versions``."""
        from importlib.metadata import PackageNotFoundError, version

        def installed(package: str) -> str:
            try:
                return version(package)
            except PackageNotFoundError:
                return ""

        # "Device API version 75, Module API version 10"
        words = self.text("getAPIVersionInfo").replace(",", " ").split()
        numbers = [int(word) for word in words if word.isdecimal()]
        return CoreVersions(
            mmcore=self.text("getVersionInfo").removeprefix("MMCore version "),
            device_interface=numbers[0] if numbers else 0,
            pymmcore=installed("pymmcore"),
            pycromanager=installed("pycromanager"),
        )

    def pop(self, *, tags: bool) -> Taken:
        """See ``Core.pop``; tags cost a few microseconds and are always read."""
        del tags
        metadata = self._metadata()
        try:
            pixels = self._class.popNextImageMD(self._alive(), metadata)
        except IndexError as error:
            raise NoFrameError("the sequence buffer is empty") from error
        except _ERRORS as error:
            raise _refused("popNextImageMD", (), error) from error
        tags_read = _tags(metadata)
        whole = as_told(pixels, tags_read)
        if whole is None:
            raise IncompleteFrameError(
                f"a frame of {tags_read.shape} was read as {pixels.shape}: the format had changed",
                "stop the camera before its region, binning or pixel type is changed",
            )
        return Taken(whole, tags_read)

    def peek(self, before_newest: int) -> Taken | None:
        """See ``Core.peek``."""
        metadata = self._metadata()
        try:
            pixels = self._class.getNBeforeLastImageMD(self._alive(), before_newest, metadata)
        except IndexError:
            # No frame that far back: the answer, not a failure.
            return None
        except _ERRORS as error:
            raise _refused("getNBeforeLastImageMD", (before_newest,), error) from error
        tags = _tags(metadata)
        whole = as_told(pixels, tags)
        return None if whole is None else Taken(whole, tags)

    def snap(self) -> Taken:
        """See ``Core.snap``."""
        self.call("snapImage")
        pixels: Any = self.call("getImage")
        x, y, _, _ = self.roi()
        if pixels.dtype.str not in ("|u1", "<u2") or pixels.ndim != 2:
            self.dtype()
        shape = (int(pixels.shape[0]), int(pixels.shape[1]))
        return Taken(pixels, FrameTags(shape=shape, dtype=pixels.dtype.str, roi_x=x, roi_y=y))

    def texts(self, name: str, *args: object) -> tuple[str, ...]:
        """See ``Core.texts``."""
        found: Any = self.call(name, *args)
        return tuple(str(text) for text in found)

    def roi(self) -> tuple[int, int, int, int]:
        """See ``Core.roi``."""
        found: Any = self.call("getROI")
        x, y, width, height = (int(value) for value in found)
        return x, y, width, height

    def preset_settings(self, group: str, preset: str) -> tuple[tuple[str, str, str], ...]:
        """See ``Core.preset_settings``."""
        data: Any = self.call("getConfigData", group, preset)
        settings = (data.getSetting(index) for index in range(data.size()))
        return tuple(
            (one.getDeviceLabel(), one.getPropertyName(), one.getPropertyValue())
            for one in settings
        )

    def remaining(self) -> int:
        """See ``Core.remaining``; asked several times a frame, so without detours."""
        try:
            return int(self._class.getRemainingImageCount(self._alive()))
        except _ERRORS as error:
            raise _refused("getRemainingImageCount", (), error) from error

    def load_exposure_sequence(self, exposures_ms: list[float]) -> None:
        """See ``Core.load_exposure_sequence``."""
        self.call("loadExposureSequence", self.camera(), exposures_ms)

    def close(self) -> None:
        """End the core if it is ours. Idempotent."""
        raw, self._raw = self._raw, None
        if raw is not None and self._owned:
            del raw
            _end_own_core()

    def _alive(self) -> Any:  # noqa: ANN401 - pymmcore has no types
        if self._raw is None:
            raise CameraError("Micro-Manager's core is closed", "open the camera first")
        return self._raw


def start_python(
    app: Path, config_file: Path | None, *, buffer_mb: int = DEFAULT_BUFFER_MB
) -> PythonCore:
    """Start a core of our own in this process, through pycromanager's python backend.

    Parameters
    ----------
    app : Path
        Folder of the device adapters (the one Micro-Manager is installed in).
    config_file : Path, optional
        Hardware configuration; none loads no device.
    buffer_mb : int
        Size of the sequence buffer, MiB.

    Raises
    ------
    CameraError
        If a package is missing, an adapter is of another device interface, a device does not
        answer; what was begun is ended again.
    """
    try:
        from pycromanager import Core as FindCore
        from pycromanager import start_headless
    except ImportError as error:
        raise missing_packages(error) from error
    if sys.platform == "win32":
        # Adapters bring libraries of their own, which Windows looks for along the path.
        os.environ["PATH"] = f"{app}{os.pathsep}{os.environ.get('PATH', '')}"
    _end_own_core()
    # After pycromanager's own, so that it comes before it at the interpreter's end.
    atexit.unregister(_end_own_core)
    atexit.register(_end_own_core)
    start_headless(str(app), None, python_backend=True, buffer_size_mb=buffer_mb)
    core = PythonCore(FindCore(), owned=True)
    if config_file is None:
        return core
    try:
        core.call("loadSystemConfiguration", str(config_file))
    except CameraError as error:
        core.close()
        raise explain_load_error(error.message, app, config_file) from error
    return core


def as_told(pixels: Pixels, tags: FrameTags) -> Pixels | None:
    """Return a frame's pixels in the shape its tags tell; None when they are not all there.

    pymmcore gives every frame the shape the camera has now. One that was exposed before the format
    changed is then read as too few or too many bytes; those it has are in order.
    """
    if pixels.shape == tags.shape and pixels.dtype.str == tags.dtype:
        return pixels
    flat = pixels.reshape(-1).view(np.uint8)
    nbytes = frame_nbytes(tags.shape, tags.dtype)
    if flat.size < nbytes:
        return None
    return flat[:nbytes].view(np.dtype(tags.dtype)).reshape(tags.shape)


def _end_own_core() -> None:
    """End a core that pycromanager started in this process, so that another can be started.

    Also at the interpreter's end: a sequence that runs would make pycromanager's own fail.
    """
    if "mmpycorex" not in sys.modules:
        return
    from mmpycorex.launcher import is_pymmcore_active
    from pycromanager import Core as FindCore
    from pycromanager import stop_headless
    from pycromanager.acquisition.acq_eng_py.internal.engine import Engine

    if is_pymmcore_active():
        core = FindCore()
        if core.isSequenceRunning():
            core.stopSequenceAcquisition()
        stop_headless()
        # MMCore 12.5.1 crashes, one time in some hundred, when it is freed right after a sequence:
        # a thread of its own still delivers what happened.
        time.sleep(_SETTLE_S)
        # pycromanager hangs methods on the core that hold the core: it would never be freed.
        vars(core).clear()
        del core
    if hasattr(Engine, "singleton"):
        # It stays bound to the old core, and the next acquisition would fail and hang.
        del Engine.singleton
    # Devices are released by the core's destructor, which must not wait for the interpreter's end.
    gc.collect()


def _tags(metadata: Any) -> FrameTags:  # noqa: ANN401 - pymmcore has no types
    get = metadata.GetSingleTag
    return parse_tags({key: get(key).GetValue() for key in _wanted(metadata.GetKeys())})


@lru_cache(maxsize=16)
def _wanted(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(key for key in keys if key in TAGS or key.endswith(CHANNEL))


def _refused(name: str, args: tuple[object, ...], error: Exception) -> CameraError:
    shown = ", ".join(repr(arg) if np.isscalar(arg) else "..." for arg in args)
    return CameraError(
        f"Micro-Manager: {name}({shown}) failed: {error}",
        "check the device in Micro-Manager's own window: the same call fails there",
    )
