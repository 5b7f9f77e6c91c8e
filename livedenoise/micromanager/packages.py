"""Which packages are installed, and which ``pymmcore`` fits which Micro-Manager.

Knows: the releases of ``pymmcore`` on PyPI, that the 4th number of one is its device interface (the
number device adapters must share with the core), how to ask pip for the right one. Must not know:
a core, an installed Micro-Manager. Imports none of the packages.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import msgspec

REAL = 'pip install "livedenoise[micromanager]"'
DEMO = 'pip install "livedenoise[micromanager-demo]"'
"""The pinned pair of pymmcore and demo adapters."""

NEWEST = {75: "12.5.1.75.0", 74: "11.10.0.74.1", 73: "11.9.0.73.0", 71: "11.2.1.71.0"}
"""Newest ``pymmcore`` of each device interface (PyPI, November 2026).

There is none for 72. Those for 70 and below, and those before 11.1.1.71.3, were built for NumPy 1:
with the NumPy 2 that this project needs they end in ``numpy.core.multiarray failed to import``.
"""

OLDEST = min(NEWEST)
HOW_TO_FIND_OUT = (
    "to find its device interface: in Micro-Manager's script panel (Tools > Script Panel) run "
    "print(mmc.getAPIVersionInfo())"
)


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of the installed packages, "" for one that is not there."""

    pymmcore: str = ""
    pycromanager: str = ""
    pyjavaz: str = ""
    adapters: str = ""

    @property
    def device_interface(self) -> int:
        """Return the device interface of the installed pymmcore, 0 without one."""
        return interface_of(self.pymmcore)

    def text(self) -> str:
        """Return the versions in words."""
        known = {
            "pymmcore": self.pymmcore,
            "pycromanager": self.pycromanager,
            "pyjavaz": self.pyjavaz,
            "mm-test-adapters": self.adapters,
        }
        there = [f"{name} {value}" for name, value in known.items() if value]
        return ", ".join(there) or "none of Micro-Manager's packages is installed"


def installed() -> Installed:
    """Return what is installed, without importing any of it."""
    return Installed(
        pymmcore=_version("pymmcore"),
        pycromanager=_version("pycromanager"),
        pyjavaz=_version("pyjavaz"),
        adapters=_version("mm-test-adapters"),
    )


def missing(found: Installed, *, backend: str, demo: bool = False) -> str:
    """Return which packages a backend lacks, "" for none.

    Parameters
    ----------
    found : Installed
        What is there.
    backend : str
        ``python`` or ``java``.
    demo : bool
        Whether the demo adapters are asked for.
    """
    needed = {"pycromanager": found.pycromanager, "pyjavaz": found.pyjavaz}
    if backend == "python":
        needed["pymmcore"] = found.pymmcore
    if demo:
        needed["mm-test-adapters"] = found.adapters
    return ", ".join(name for name, value in needed.items() if not value)


def interface_of(pymmcore: str) -> int:
    """Return the device interface of a pymmcore: its version's 4th number, 0 when there is none."""
    parts = pymmcore.split(".")
    return int(parts[3]) if len(parts) > 3 and parts[3].isdecimal() else 0


def adapters_interface(mm_test_adapters: str) -> int:
    """Return the device interface of the demo adapters: their version's 1st number, 0 for none."""
    first = mm_test_adapters.partition(".")[0]
    return int(first) if first.isdecimal() else 0


def mend_interface(adapters: int) -> str:
    """Return how to make pymmcore fit adapters of a device interface.

    Parameters
    ----------
    adapters : int
        Device interface of the Micro-Manager to drive, 0 for unknown.
    """
    if adapters in NEWEST:
        return f'pip install "pymmcore=={NEWEST[adapters]}" (device interface {adapters})'
    if 0 < adapters < max(NEWEST):
        return (
            f"no pymmcore that runs here has device interface {adapters}: install a newer "
            f"Micro-Manager (interface {OLDEST} to {max(NEWEST)}, not 72)"
        )
    if adapters:
        return (
            f"a pymmcore whose version's 4th number is {adapters} is needed: look for one with "
            f"pip index versions pymmcore, then pip install pymmcore==...{adapters}...."
        )
    return f"{HOW_TO_FIND_OUT}; then install the pymmcore whose version's 4th number is the same"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
