"""Is a process alive, and is it still the same one? Standard library only.

Knows: how each platform tells. Must not know: what the process is.

A process number is used again after its process ended, so a number alone proves nothing: with it
goes its birth, a text no other process with that number shares.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_STATE, _START = 0, 19
"""Fields of /proc/PID/stat counted from behind the command name: state, start in ticks (22nd)."""


def birth_of(pid: int) -> str | None:
    """Return the birth of a living process, None when there is none with this number.

    The text is "" where the platform does not tell (macOS, another user's process on Windows). A
    process that ended and waits to be reaped counts as gone.
    """
    if pid <= 0:
        return None
    if sys.platform == "win32":
        return _windows_birth(pid)
    if (_PROC / "self/stat").exists():
        return _linux_birth(pid)
    return _posix_birth(pid)


def same_process(pid: int, born: str) -> bool:
    """Return whether the process that had ``pid`` when its birth was ``born`` still lives."""
    birth = birth_of(pid)
    if birth is None:
        return False
    return not born or not birth or birth == born


def _linux_birth(pid: int) -> str | None:
    try:
        line = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in brackets and may itself contain brackets and spaces.
    fields = line.rpartition(b")")[2].split()
    if fields[_STATE] in (b"Z", b"X"):
        return None
    # Ticks count from boot: in a folder that survives a boot they could meet again.
    boot = _BOOT_ID.read_text(encoding="ascii").strip() if _BOOT_ID.exists() else ""
    return f"{boot}:{int(fields[_START])}"


def _posix_birth(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return ""
    return ""


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _QUERY_LIMITED_INFORMATION = 0x1000
    _STILL_ACTIVE = 259
    _ACCESS_DENIED = 5

    def _windows_birth(pid: int) -> str | None:
        """Ask the kernel: ``os.kill(pid, 0)`` would end the process here."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = wintypes.HANDLE
        kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        handle = kernel.OpenProcess(_QUERY_LIMITED_INFORMATION, False, pid)
        if not handle:
            return "" if ctypes.get_last_error() == _ACCESS_DENIED else None
        try:
            return _windows_times(kernel, wintypes.HANDLE(handle))
        finally:
            kernel.CloseHandle(wintypes.HANDLE(handle))

    def _windows_times(kernel: ctypes.WinDLL, handle: wintypes.HANDLE) -> str | None:
        code = wintypes.DWORD()
        if kernel.GetExitCodeProcess(handle, ctypes.byref(code)) and code.value != _STILL_ACTIVE:
            return None
        times = [wintypes.FILETIME() for _ in range(4)]
        if not kernel.GetProcessTimes(handle, *map(ctypes.byref, times)):
            return ""
        return f"{times[0].dwHighDateTime}:{times[0].dwLowDateTime}"
