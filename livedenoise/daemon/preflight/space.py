"""Judging room: shared memory, memory, ring depth, disk and file system. Pure.

Every function takes numbers and returns a ``Finding``; none touches the machine.
"""

from __future__ import annotations

from livedenoise.core.check_facts import Finding, Level

MIN_DEPTH_S = 0.5
"""A shallower ring overflows when a recorder waits for the disk as long as it ordinarily may."""

MIN_MINUTES = 10.0
MIN_RECORDING_S = 10.0
"""Less than this on the disk is no recording at all."""

PROCESS_BYTES = 100 << 20
"""Private memory of one process, the mean of a demo run (512x512) as measured: acquire 171 MiB with
its rendered frames, denoise 230, each recorder 19, daemon 28. Larger frames need more."""

_FAT_LIMIT_BYTES = (4 << 30) - 1
_FAT = ("vfat", "msdos", "fat", "fat32")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph")
_MEMORY = ("tmpfs", "ramfs")


def judge_shared_memory(needed_bytes: int, free_bytes: int | None) -> Finding:
    """Judge the rings of a run against the free shared memory (None where it has no own limit)."""
    need = f"the rings need {size_text(needed_bytes)}"
    if free_bytes is None:
        return _memory("shared memory", "ok", f"{need}; this platform sets no limit of its own")
    text = f"{need} of shared memory, {size_text(free_bytes)} are free"
    if needed_bytes > free_bytes:
        return _memory(
            "shared memory",
            "problem",
            text,
            "lower ring.memory_mb, or enlarge /dev/shm (docker: --shm-size; else mount -o "
            "remount,size=...)",
        )
    return _memory("shared memory", "ok", text)


def judge_ram(ring_bytes: int, processes: int, available_bytes: int | None) -> Finding:
    """Judge rings and processes against the memory that is available (None: not readable)."""
    needed = ring_bytes + processes * PROCESS_BYTES
    need = f"rings and {processes} processes need about {size_text(needed)}"
    if available_bytes is None:
        return _memory("memory", "ok", f"{need}; what is available cannot be read here")
    text = f"{need}, {size_text(available_bytes)} are available"
    if ring_bytes > available_bytes:
        return _memory("memory", "problem", text, "lower ring.memory_mb, or close programs")
    if needed > available_bytes:
        return _memory("memory", "warning", text, "close programs, or lower ring.memory_mb")
    return _memory("memory", "ok", text)


def judge_ring_depth(camera: str, n_slots: int, fps: float) -> Finding:
    """Judge for how long the raw ring holds a camera's frames while the recorder waits."""
    name = f"{camera}: ring depth"
    if not fps:
        return _memory(name, "ok", f"{n_slots} frames; the source has no rate of its own")
    depth_s = n_slots / fps
    text = f"{n_slots} frames, {depth_s:.2f} s at {fps:.4g} fps"
    if depth_s < MIN_DEPTH_S:
        mend = "raise ring.memory_mb and ring.max_slots, or take a smaller region"
        return _memory(name, "warning", f"{text}: a disk that pauses longer costs frames", mend)
    return _memory(name, "ok", text)


def judge_disk(free_bytes: int, bytes_per_s: float, planned_s: float | None) -> Finding:
    """Judge the free space as recording time at a rate."""
    if bytes_per_s <= 0:
        return _disk("space", "ok", f"{size_text(free_bytes)} free")
    seconds = free_bytes / bytes_per_s
    rate = f"{bytes_per_s * 1e-6:.4g} MB/s"
    text = f"{size_text(free_bytes)} free: {time_text(seconds)} of recording at {rate}"
    mend = "free some space, choose another folder with --out, or a smaller region or rate"
    if seconds < MIN_RECORDING_S:
        return _disk("space", "problem", text, mend)
    if planned_s is not None and seconds < planned_s:
        return _disk("space", "warning", f"{text}, {time_text(planned_s)} are planned", mend)
    if planned_s is None and seconds < MIN_MINUTES * 60:
        return _disk("space", "warning", text, mend)
    return _disk("space", "ok", text)


def judge_disk_total(free_bytes: int, needed_bytes: int) -> Finding:
    """Judge the free space against a recording whose size is known."""
    need = f"{size_text(free_bytes)} free, the whole recording takes {size_text(needed_bytes)}"
    if needed_bytes > free_bytes:
        mend = "free some space, or choose another folder with --out"
        return _disk("space", "problem", need, mend)
    return _disk("space", "ok", need)


def nothing_recorded() -> Finding:
    """Say that neither stream is recorded."""
    text = "nothing is recorded: record.raw and record.clean are off"
    return _disk("recording", "warning", text, "record.raw = true")


def judge_folder(folder: str, error: str) -> Finding:
    """Judge whether run folders can be made; ``error`` is what the system said, empty for yes."""
    if error:
        mend = "choose another folder with --out, or mend its permissions"
        return _disk("folder", "problem", f"{folder} cannot be written: {error}", mend)
    return _disk("folder", "ok", f"{folder} can be written")


def judge_file_system(kind: str, part_size_bytes: int) -> Finding:
    """Judge the kind of file system (as Linux names it) for recordings; empty: not known."""
    if not kind:
        return _disk("file system", "ok", "its kind cannot be read on this platform")
    if kind in _FAT and part_size_bytes > _FAT_LIMIT_BYTES:
        return _disk(
            "file system",
            "problem",
            f"{kind} holds files up to 4 GiB, part files would grow to "
            f"{size_text(part_size_bytes)}",
            "record.part_size_mb = 4000, or another disk",
        )
    if kind in _MEMORY:
        text = f"{kind}: recordings would lie in memory and be lost with the power"
        return _disk("file system", "warning", text, "choose a folder on a disk with --out")
    if kind in _NETWORK:
        text = f"{kind}: the network carries every frame; its pauses cost frames"
        return _disk("file system", "warning", text, "record to a local disk and copy afterwards")
    return _disk("file system", "ok", kind)


def size_text(n_bytes: float) -> str:
    """Return a size for people, in MiB or GiB."""
    mib = n_bytes / (1 << 20)
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def time_text(seconds: float) -> str:
    """Return a time for people: recording minutes, seconds when short, hours when long."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 300 else f"{minutes / 60:.0f} h"


def _memory(name: str, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="memory", name=name, ok=ok, text=text, mend=mend)


def _disk(name: str, ok: Level, text: str, mend: str = "") -> Finding:
    return Finding(group="disk", name=name, ok=ok, text=text, mend=mend)
