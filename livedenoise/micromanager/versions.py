"""Why a hardware configuration did not load, with the mend; and the folder it is loaded from.

Knows: what MMCore writes when an adapter is of another device interface, is missing, lacks its
vendor's driver, or its device does not answer. Must not know: how a core is called.

The texts were recorded from pymmcore 11.2.1.71.0, 11.9.0.73.0, 11.10.0.74.1 and 12.5.1.75.0
(``tests/micromanager/load_errors.json``).
"""

from __future__ import annotations

import re
from pathlib import Path

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.app_folder import adapter_files, find_app
from livedenoise.micromanager.packages import DEMO, REAL, installed, mend_interface

__all__ = ["explain_load_error", "find_app", "missing_packages"]

_CALL = re.compile(r"^Micro-Manager: \w+\(.*?\) failed: ", re.DOTALL)
# Since 11.5 "(MMCore requires 75; device adapter has 74)", before "(required = 71; found = 70)".
_INTERFACE = re.compile(
    r"Incompatible device interface version \((?:MMCore requires|required =) (\d+); "
    r"(?:device adapter has|found =) (\d+)\)"
)
_ADAPTER = re.compile(r'Failed to load device adapter "([^"]+)"')
_NO_DEVICE = re.compile(
    r'Device adapter "([^"]+)" failed to instantiate device "([^"]*)"'
    r'|Failed to load device "([^"]+)" from adapter module "([^"]+)"'
)
_DEVICE = re.compile(r'Error in device "([^"]*)": (.+?)\s*$', re.DOTALL)
_LINE = re.compile(r"Line (\d+): ([^\n]*)")
_NO_FILE = re.compile(r'"?([^"\n]+?)"?: File open failed')
_INITIALIZE = "Property,Core,Initialize,1"

_DRIVERS = {
    "PVCAM": "PVCAM (Teledyne Photometrics)",
    "AndorSDK3": "Andor SDK3",
    "Andor": "Andor SDK2",
    "HamamatsuHam": "DCAM-API (Hamamatsu)",
    "PCO_Camera": "pco.sdk (the DLLs beside the adapter)",
}


def explain_load_error(
    message: str, app: str | Path, config_file: str | Path | None = None
) -> CameraError:
    """Return a failed ``loadSystemConfiguration`` as an error that names the mend.

    Parameters
    ----------
    message : str
        What MMCore said; a ``CameraError`` of ``Core.call`` may be passed as it is.
    app : str or Path
        Folder the adapters were loaded from.
    config_file : str or Path, optional
        The hardware configuration.
    """
    text, folder = _CALL.sub("", message).strip(), Path(app)
    where = "" if config_file is None else f"{config_file}: "
    line = _LINE.match(text)
    if line is not None:
        where += f"line {line[1]} ({line[2].strip()}): "
    interface = _INTERFACE.search(text)
    if interface is not None:
        return _other_interface(where, folder, int(interface[1]), int(interface[2]))
    no_file = _NO_FILE.search(text)
    if no_file is not None:
        return _no_config_file(no_file[1], folder)
    adapter = _ADAPTER.search(text)
    if adapter is not None:
        return _no_adapter(where, folder, adapter[1], text)
    device = _NO_DEVICE.search(text)
    if device is not None:
        return _no_device(where, device[1] or device[4], device[2] or device[3])
    told = _DEVICE.search(text)
    if told is not None and (line is None or line[2].strip() == _INITIALIZE):
        return _not_initialized(where, told[1], told[2])
    return _other(where, text)


def _other_interface(where: str, app: Path, core: int, adapters: int) -> CameraError:
    text = (
        f"{where}the device adapters in {app} have device interface {adapters}, the installed "
        f"pymmcore {installed().pymmcore} has {core}"
    )
    if _is_demo(app):
        return CameraError(text, f"install the pair that belongs together: {DEMO}")
    return CameraError(text, mend_interface(adapters))


def _no_config_file(path: str, app: Path) -> CameraError:
    there = sorted(file.name for file in app.glob("*.cfg")) if app.is_dir() else []
    listed = f"; in {app} there are {', '.join(there)}" if there else ""
    return CameraError(
        f"hardware configuration {path}: the file cannot be opened{listed}",
        "set camera.config_file to the .cfg that Micro-Manager loads at its start",
    )


def _no_adapter(where: str, app: Path, name: str, text: str) -> CameraError:
    files = adapter_files(app) if app.is_dir() else {}
    if name in files:
        driver = _DRIVERS.get(name, "the driver of the camera's vendor")
        reason = text.rpartition("[")[2].strip(" ]\n")
        return CameraError(
            f"{where}device adapter {name} is in {app} but does not load: {reason}",
            f"install {driver}, of the same bits as this Python; it must load in Micro-Manager "
            "itself first",
        )
    return CameraError(
        f"{where}there is no device adapter {name} in {app}; there are "
        f"{', '.join(files) or 'none'}",
        "set camera.app_path to the Micro-Manager that this configuration was made with"
        + ("; the demo has only DemoCamera and Utilities" if _is_demo(app) else ""),
    )


def _no_device(where: str, adapter: str, device: str) -> CameraError:
    # Andor SDK3 answers the same when it sees no camera (CreateDevice in AndorSDK3.cpp).
    return CameraError(
        f"{where}device adapter {adapter} makes no device {device}",
        "check that the device is on, connected and used by no other program (Micro-Manager, the "
        "vendor's own); if it is, make the hardware configuration again with Micro-Manager's "
        "hardware wizard: its name may have changed",
    )


def _not_initialized(where: str, device: str, reason: str) -> CameraError:
    return CameraError(
        f"{where}device {device} does not start: {reason}",
        "check that it is on, connected and used by no other program: a camera that Micro-Manager "
        'or the vendor\'s own program has open cannot be opened twice (backend = "java" shares '
        "Micro-Manager's)",
    )


def _other(where: str, text: str) -> CameraError:
    reason = text.partition("\n")[2].strip() or text
    return CameraError(
        f"{where}Micro-Manager's core: {reason}",
        "mend that line with Micro-Manager's hardware wizard, or load the file in Micro-Manager "
        "itself: it fails there the same way",
    )


def missing_packages(error: ImportError) -> CameraError:
    """Return the error for a package that cannot be imported: absent, or built for NumPy 1."""
    if "multiarray" in str(error):
        return CameraError(
            f"pymmcore {installed().pymmcore} was built for NumPy 1: {error}",
            f"{mend_interface(installed().device_interface)}; if Micro-Manager is older, update it",
        )
    return CameraError(
        f"Micro-Manager's packages are missing: {error}",
        f"{REAL}; to try it without Micro-Manager: {DEMO}",
    )


def _is_demo(app: Path) -> bool:
    return "mm_test_adapters" in app.parts
