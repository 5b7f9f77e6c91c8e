"""What a running daemon looks like at one moment, as plain data for any view or subscriber.

Everything here is built by the daemon from what its stages said last, travels as msgpack or JSON
(bytes as base64) and is drawn by a pure function. A figure nobody measured is None, never 0.
"""

from __future__ import annotations

import msgspec

from livedenoise.core.metrics import LatencySummary


class StageStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One stage process.

    Attributes
    ----------
    name, kind : str
        ``kind.camera`` and the kind: acquire, denoise, record, record-clean, view.
    state : str
        "starting", "running", "restarting", "finished" or "dead".
    restarts : int
        How often its process was replaced.
    count : int
        Frames it has handled; ``fps`` and ``mb_per_s`` are smoothed rates of the last reports.
    queue : str
        What its fill is of ("ring", "backlog"), empty when it has no queue of its own.
    fill : float
        0 empty, 1 full.
    dropped : dict
        Frames it dropped or skipped, by reason.
    """

    name: str
    kind: str
    state: str
    pid: int = 0
    restarts: int = 0
    count: int = 0
    fps: float = 0.0
    mb_per_s: float = 0.0
    queue: str = ""
    fill: float = 0.0
    dropped: dict[str, int] = {}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A moving average over ``n`` samples; ``value`` is None before there are enough."""

    value: float | None = None
    n: int = 0


class QualityStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Live quality of one camera's frames; names, units and definitions: ``quality.definitions``.

    ``motion`` says that the scene moves, so that figures which compare frames are not to be
    trusted; ``constants`` names where the camera constants came from ("" when there are none, and
    figures in electrons are then missing).
    """

    figures: dict[str, Figure] = {}
    motion: bool = False
    constants: str = ""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """Small pictures of one frame: (height, width) uint8, row-major, both on one grey scale.

    ``low_adu`` and ``high_adu`` are the counts shown black and white. ``clean`` is empty when the
    frame was not denoised.
    """

    seq: int
    height: int
    width: int
    low_adu: float
    high_adu: float
    raw: bytes
    clean: bytes = b""


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One camera. Rates are over the last report intervals; counts since the start.

    ``hops`` are latencies in ms by hop (``core.metrics.HOPS``); ``recent`` is the distribution of
    camera_to_denoised over about the last 10 s, ``latency`` over the whole run. ``history`` holds
    one value a second, oldest first, None where there was none: "fps_in", "fps_out",
    "latency_p50_ms", "ring_fill", "signal_e". ``saturated`` counts frames with a saturated pixel,
    ``clipped_pixels`` denoised pixels cut to the range of the data type. ``counters`` is what the
    camera counted beside its frames, by its own names.
    """

    camera: str
    shape: tuple[int, int]
    dtype: str
    period_ms: float
    engine: str
    captured: int
    recorded: int
    denoised: int
    passthrough: int
    skipped: int
    lost_at_camera: int
    dropped: dict[str, int]
    fps_in: float
    fps_out: float
    mb_per_s: float
    ring_fill: float
    latency: LatencySummary
    note: str = ""
    recent: LatencySummary | None = None
    hops: dict[str, LatencySummary] = {}
    stages: tuple[StageStatus, ...] = ()
    skips: dict[str, int] = {}
    saturated: int = 0
    clipped_pixels: int = 0
    history: dict[str, tuple[float | None, ...]] = {}
    quality: QualityStatus | None = None
    preview: Preview | None = None
    counters: dict[str, int] = {}


class StatusSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. ``total_s`` and ``total_frames`` are 0 for "until stopped".

    ``recording_left_s`` is the free disk space over the present data rate: None when nothing is
    recorded or the rate is not known yet. ``alerts`` hold now and go away when mended; ``errors``
    and ``notes`` stay.
    """

    name: str
    state: str
    elapsed_s: float
    total_s: float
    total_frames: int
    run_dir: str
    streams: tuple[StreamStatus, ...]
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    recording: bool = False
    recording_left_s: float | None = None
    disk_free_bytes: int | None = None
    run_id: str = ""
    pid: int = 0
