"""From measured costs to ceilings and a verdict. Pure.

Each stage is measured alone, in a process of its own. Alone it may use every processor; in a run
they share them. So beside the rate of each stage there is a row ``all together`` (``without
denoiser`` where there is none, or nothing would be left for it): with c_i the
processor time a frame costs stage i (all threads, user and system) and P the processors, the
stages that every raw frame passes (camera to ring, messages, recorder) take their share first,
and the denoisers divide the rest::

    left  = SHARE * P - sum over cameras of fps * (c_ring + c_messages + c_recorder)
    scale = left / sum over cameras of fps * c_denoiser        (1: exactly every frame)

``SHARE`` = 0.9 leaves a tenth to the system, the daemon and the screen. It is the only safety
factor on processors; ``MARGIN`` = 0.9 is what a stage must have in hand before "will keep up" is
said, since a second's mean says nothing about its worst moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from livedenoise.core.check_facts import Ceiling, Verdict
from livedenoise.daemon.preflight.demand import Demand, recording_bytes_per_s

SHARE = 0.9
MARGIN = 0.9

RING, MESSAGES, RECORDER, DENOISER = "camera to ring", "messages", "recorder", "denoiser"
TOGETHER, RAW_TOGETHER = "all together", "without denoiser"
_RAW_STAGES = (RING, MESSAGES, RECORDER)
_RAW = (*_RAW_STAGES, RAW_TOGETHER)
"""What every raw frame passes: what they cannot take is lost."""

_DENOISING = (DENOISER, TOGETHER)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame costs one stage of one camera.

    ``s`` is wall-clock time, ``cpu_s`` processor time over all threads, both seconds a frame;
    ``frame_bytes`` is what it moves for one: both streams at the recorder, 0 for messages.
    """

    stage: str
    s: float
    cpu_s: float
    frame_bytes: int
    method: str


Costs = Mapping[str, Sequence[Cost]]
"""Costs by camera."""


def ceilings(demands: Sequence[Demand], costs: Costs, processors: int) -> list[Ceiling]:
    """Return the rows of every camera; the lowest of each is marked."""
    rows = []
    for demand in demands:
        mine = [
            _row(demand, c.stage, 1.0 / c.s, c.frame_bytes, c.method) for c in costs[demand.camera]
        ]
        together = _together(demand, demands, costs, processors)
        if together is not None:
            method = f"processor time of these stages on {processors} processors"
            mine.append(_row(demand, *together, demand.frame_bytes, method))
        rows += _marked(mine)
    return rows


def recorder_cost(
    demand: Demand,
    demands: Sequence[Demand],
    *,
    bytes_per_s: float,
    cpu_s_per_byte: float,
    method: str,
) -> Cost:
    """Return what a camera's frame costs on a disk that all recorders of the run share.

    The disk has to take what every stream brings while the camera delivers one frame, so a frame
    costs ``bytes of all streams in a frame period / bytes_per_s``.
    """
    own = demand.frame_bytes * demand.recorded_streams
    total = recording_bytes_per_s(demands)
    written = total / demand.fps if demand.fps and total else own
    return Cost(
        stage=RECORDER,
        s=written / bytes_per_s,
        cpu_s=own * cpu_s_per_byte,
        frame_bytes=own,
        method=method,
    )


def verdict(demand: Demand, rows: Sequence[Ceiling]) -> Verdict | None:
    """Return what the rows of a camera mean for its frames, in one sentence; None without rows."""
    mine = [row for row in rows if row.camera == demand.camera]
    lowest = _slowest(mine)
    if lowest is None or not demand.fps:
        return None if lowest is None else _unpaced(demand, lowest)
    every = _RAW if demand.denoise != "lossless" else (*_RAW, *_DENOISING)
    raw = _slowest([row for row in mine if row.stage in every])
    if raw is not None and raw.fps < demand.fps:
        return _loses(demand, raw)
    if lowest.fps < demand.fps:
        return _skips(demand, lowest)
    if lowest.fps * MARGIN < demand.fps:
        text = f"will just keep up: {_against(demand, lowest)}"
        mend = "leave the machine alone during the experiment, or take a smaller region"
        return Verdict(camera=demand.camera, ok="warning", text=text, mend=mend)
    text = f"will keep up: {_against(demand, lowest)}"
    return Verdict(camera=demand.camera, ok="ok", text=text)


def _slowest(rows: Sequence[Ceiling]) -> Ceiling | None:
    return min(rows, key=lambda row: row.fps, default=None)


def _loses(demand: Demand, row: Ceiling) -> Verdict:
    lost = 100 * (1 - row.fps / demand.fps)
    text = f"frames will be lost, about {lost:.0f} %: {_against(demand, row)}"
    no_clean = ", or record.clean = false" if demand.clean else ""
    mends = {
        RECORDER: f"a faster disk (--out), a smaller region or rate{no_clean}",
        DENOISER: 'denoise.policy = "latest", a smaller region or rate',
        TOGETHER: 'denoise.policy = "latest", a smaller region or rate',
    }
    mend = mends.get(row.stage, "a smaller region or rate, or a faster computer")
    return Verdict(camera=demand.camera, ok="problem", text=text, mend=mend)


def _skips(demand: Demand, row: Ceiling) -> Verdict:
    skipped = 100 * (1 - row.fps / demand.fps)
    unaffected = "raw recording is unaffected" if demand.raw else "nothing is recorded"
    text = (
        f"the denoiser will skip about {skipped:.0f} % of the frames; {unaffected}: "
        f"{_against(demand, row)}"
    )
    mend = "a smaller region or rate, or denoise the recording afterwards (livedenoise predict)"
    return Verdict(camera=demand.camera, ok="warning", text=text, mend=mend)


def _unpaced(demand: Demand, lowest: Ceiling) -> Verdict:
    if demand.waits:
        text = f"nothing is lost: the source waits; about {lowest.fps:.3g} fps ({lowest.stage})"
        return Verdict(camera=demand.camera, ok="ok", text=text)
    text = f"up to about {lowest.fps:.3g} fps ({lowest.stage}); the camera's rate is not known"
    return Verdict(camera=demand.camera, ok="ok", text=text)


def _against(demand: Demand, row: Ceiling) -> str:
    return f"{row.stage} {row.fps:.3g} of {demand.fps:.4g} fps"


def _row(demand: Demand, stage: str, fps: float, frame_bytes: int, method: str) -> Ceiling:
    return Ceiling(
        camera=demand.camera,
        stage=stage,
        fps=fps,
        mb_per_s=fps * frame_bytes * 1e-6,
        needs_fps=demand.fps,
        method=method,
    )


def _marked(rows: list[Ceiling]) -> list[Ceiling]:
    lowest = _slowest(rows)
    return [msgspec.structs.replace(row, limits=row is lowest) for row in rows]


def _together(
    demand: Demand, demands: Sequence[Demand], costs: Costs, processors: int
) -> tuple[str, float] | None:
    """Return the rate at which the processors are used up, None where nobody uses them."""
    budget = SHARE * processors
    if not demand.fps:
        # Nothing is left behind: every stage sees every frame.
        spent = sum(cost.cpu_s for cost in costs[demand.camera])
        return (TOGETHER, budget / spent) if spent else None
    raw = sum(d.fps * _cpu_s(costs[d.camera], _RAW_STAGES) for d in demands)
    denoise = sum(d.fps * _cpu_s(costs[d.camera], (DENOISER,)) for d in demands)
    if denoise and raw < budget:
        return TOGETHER, demand.fps * (budget - raw) / denoise
    return (RAW_TOGETHER, demand.fps * budget / raw) if raw else None


def _cpu_s(costs: Sequence[Cost], stages: Sequence[str]) -> float:
    return sum(cost.cpu_s for cost in costs if cost.stage in stages)
