"""Micro-Manager's folder: where it is, which adapters are in it, which device interface they have.

Knows: where installers put Micro-Manager, how adapter files are called on each system, the
function every adapter exports. Must not know: configurations, cores.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import AUTO, DEMO
from livedenoise.micromanager import packages

VARIABLE = "MICROMANAGER_PATH"
"""Environment variable that names the folder, on every system."""

_NAMES = ("Micro-Manager-2.0*", "Micro-Manager*")
_PREFIXES = ("mmgr_dal_", "libmmgr_dal_")
_HARMLESS = ("DemoCamera", "Utilities")
"""Adapters that need no driver of a vendor: loading one touches no hardware."""


def find_app(app_path: str) -> Path:
    """Return Micro-Manager's folder.

    Parameters
    ----------
    app_path : str
        A folder; ``demo`` for the demo adapters; ``auto`` for ``MICROMANAGER_PATH``, then the
        places where Micro-Manager's installer puts it.

    Raises
    ------
    CameraError
        If it is not there or holds no device adapters; what was looked at is named.
    """
    if app_path == DEMO:
        return _demo()
    if app_path == AUTO:
        return _auto(os.environ, _usual_folders())
    folder = Path(app_path).expanduser()
    if not folder.is_dir():
        raise CameraError(f"app_path = {app_path}: no such folder", _name_it())
    if not adapter_files(folder):
        raise CameraError(_wrong_folder(folder), _name_it())
    return folder


def adapter_files(folder: Path) -> dict[str, Path]:
    """Return the device adapters of a folder: name (``PVCAM``) to file."""
    found = {}
    for path in sorted(folder.iterdir()):
        for prefix in _PREFIXES:
            if path.name.startswith(prefix):
                found[path.name.removeprefix(prefix).split(".")[0]] = path
    return found


def folder_interface(folder: Path) -> int:
    """Return the device interface of an installation, 0 when it does not tell.

    Asks the demo adapter, which needs no vendor's driver; no device is made.
    """
    files = adapter_files(folder)
    for name in _HARMLESS:
        if name in files:
            return _exported_interface(files[name])
    return 0


def _exported_interface(adapter: Path) -> int:
    """Call ``GetDeviceInterfaceVersion`` of MMDevice's ModuleInterface.h; 0 when it cannot."""
    try:
        function = ctypes.CDLL(str(adapter)).GetDeviceInterfaceVersion
    except (OSError, AttributeError):
        # Built for another system or processor: MMCore will say so with its own words.
        return 0
    function.restype = ctypes.c_long
    function.argtypes = []
    return int(function())


def _demo() -> Path:
    spec = find_spec("mm_test_adapters")
    if spec is None or not spec.submodule_search_locations:
        raise CameraError(
            'app_path = "demo": the demo adapters (mm-test-adapters) are not installed',
            packages.DEMO,
        )
    import mm_test_adapters

    return Path(mm_test_adapters.device_adapter_path())


def _auto(environment: Mapping[str, str], usual: Sequence[Path]) -> Path:
    """Return the folder that the variable names, else the newest of the usual ones."""
    named = environment.get(VARIABLE, "")
    if named:
        folder = Path(named).expanduser()
        if folder.is_dir() and adapter_files(folder):
            return folder
        raise CameraError(
            f"{VARIABLE}={named}: no folder with device adapters (mmgr_dal_*)", _name_it()
        )
    candidates = [path for place in usual for name in _NAMES for path in place.glob(name)]
    good = [path for path in candidates if path.is_dir() and adapter_files(path)]
    if good:
        return max(good, key=lambda path: path.stat().st_mtime)
    places = ", ".join(f"{place}{os.sep}{_NAMES[-1]}" for place in usual)
    raise CameraError(
        f'app_path = "auto": Micro-Manager was not found; looked at {VARIABLE} and {places}',
        _name_it(),
    )


def _usual_folders() -> list[Path]:
    if sys.platform == "win32":
        drives = [os.environ.get("PROGRAMFILES", r"C:\Program Files"), r"C:\Program Files", "C:\\"]
        return [Path(drive) for drive in dict.fromkeys(drives)]
    if sys.platform == "darwin":
        return [Path("/Applications"), Path.home() / "Applications", Path.home()]
    return [Path("/opt"), Path("/usr/local/lib"), Path("/usr/lib"), Path.home()]


def _wrong_folder(folder: Path) -> str:
    """Say what is in a folder without adapters, and where they may be instead."""
    deeper = next((p.parent for pre in _PREFIXES for p in folder.glob(f"*/{pre}*")), None)
    text = f"app_path = {folder}: no device adapters (mmgr_dal_*) in this folder"
    return text if deeper is None else f"{text}; there are some in {deeper}"


def _name_it() -> str:
    return (
        "set camera.app_path to Micro-Manager's folder (the one with its program and the mmgr_dal "
        f"files), or {VARIABLE}; to try it without Micro-Manager: app_path = "
        f'"demo" ({packages.DEMO})'
    )
