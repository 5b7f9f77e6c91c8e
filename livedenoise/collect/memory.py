"""Whether the frames of a field fit in memory, known before the first is exposed.

Knows: what a field keeps until it is on disk, what the system has left. Must not know: devices,
files.

Where the frames of averages are kept, a field is in memory as a whole until it is judged, and the
next is exposed meanwhile: two fields at once.
"""

from __future__ import annotations

import os
from pathlib import Path

from livedenoise.collect.program import Program
from livedenoise.collect.shots import Shot
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import MicroscopeInfo

_MEMINFO = Path("/proc/meminfo")
_LARGEST_SHARE = 0.5
_MEAN_BYTES = 4


def require_memory(program: Program, info: MicroscopeInfo) -> None:
    """Refuse a plan whose kept frames do not fit; say nothing where the system does not tell.

    Raises
    ------
    ConfigError
        If the frames of a field need more than half of the memory that is available.
    """
    available = available_bytes() if program.keep_frames else None
    if available is None:
        return
    needed = field_bytes(program, info)
    if needed <= _LARGEST_SHARE * available:
        return
    raise ConfigError(
        f"keep_frames: the frames of a field need {needed / 1e9:.3g} GB, and of the "
        f"{available / 1e9:.3g} GB of memory that are available no more than half may go to one "
        "field (the next is exposed while it is judged)",
        "set keep_frames = false, average fewer frames, take fewer channels or planes in a field, "
        "or make the camera's region smaller",
    )


def field_bytes(program: Program, info: MicroscopeInfo) -> int:
    """Return what the largest field of a program holds in memory until it is judged."""
    rows, columns = info.shape
    pixel_bytes = 1 if info.camera.bit_depth <= 8 else 2
    per_pixel = {
        channel: sum(_shot_bytes(shot, pixel_bytes, keep=program.keep_frames) for shot in shots)
        for channel, shots in program.sequences.items()
    }
    fields = (sum(per_pixel[site.channel] for site in sites) for sites in program.fields)
    return rows * columns * max(fields, default=0)


def _shot_bytes(shot: Shot, pixel_bytes: int, *, keep: bool) -> int:
    """Return bytes per pixel: one frame, or a mean with its first and last or with all frames."""
    if shot.frames == 1:
        return pixel_bytes
    return _MEAN_BYTES + pixel_bytes * (shot.frames if keep else 2)


def available_bytes() -> int | None:
    """Return the memory that can be had without swapping; None where the system does not tell.

    Linux says what is available; of other POSIX systems all of their memory is known.
    """
    try:
        lines = _MEMINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    pages = os.sysconf("SC_PHYS_PAGES")
    return pages * os.sysconf("SC_PAGE_SIZE") if pages > 0 else None
