"""Numbers as people read them on a narrow screen: three digits or so, the unit chosen. Pure."""

from __future__ import annotations

from math import isfinite

MISSING = "--"


def number(value: float | None, decimals: int = 3) -> str:
    """Return about three significant digits, at most so many decimals; dashes for nothing."""
    if value is None or not isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.2g}"
    digits = 0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{min(digits, decimals)}f}"


def duration(seconds: float) -> str:
    """Return a time: ``12.3 s``, ``4 min 05 s``, ``3 h 20 min``, ``12 days``."""
    if not isfinite(seconds):
        return MISSING
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    if seconds < 100 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    return f"{seconds / 86400:.0f} days"


def size_of(n_bytes: int) -> str:
    """Return bytes in GB or TB."""
    return f"{n_bytes / 1e12:.1f} TB" if n_bytes >= 1e12 else f"{n_bytes / 1e9:.1f} GB"
