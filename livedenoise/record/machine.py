"""What a run was made with: versions and the machine, as plain facts for run.json."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import msgspec

from livedenoise import __version__

_PACKAGES = (
    "imagecodecs",
    "msgspec",
    "ndstorage",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "pydantic",
    "pyzmq",
    "scipy",
    "tensorrt",
    "tifffile",
    "torch",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Versions and machine. ``packages`` leaves out what is not installed."""

    livedenoise: str
    python: str
    platform: str
    cpu: str
    cpu_count: int
    packages: dict[str, str]


def this_machine() -> Machine:
    """Return what this process runs on; imports none of the packages."""
    return Machine(
        livedenoise=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpu_name(),
        cpu_count=os.cpu_count() or 0,
        packages={name: version for name in _PACKAGES if (version := _version(name))},
    )


def cpu_name() -> str:
    """Return the processor's name for people, as good as the system tells it."""
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
