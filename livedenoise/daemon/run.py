"""The daemon: brings the stages of a run up in order, watches them, and ends them in order.

Start: rings, record, denoise, acquire last. Stop: acquire first, the others drain what is under
way, and everything is finalised. A dead denoiser never stops the raw recording; a full disk never
stops the live view.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.context import new_context
from livedenoise.bus.control import ControlServer
from livedenoise.bus.endpoints import Endpoints, remove_stale_endpoints
from livedenoise.bus.ring import Ring
from livedenoise.bus.segment import remove_stale
from livedenoise.core.clock import now_ns
from livedenoise.core.config import Config
from livedenoise.core.errors import (
    EXIT_ABORTED,
    EXIT_CAMERA,
    EXIT_DENOISER,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_RECORD,
    CameraError,
    ConfigError,
    LiveDenoiseError,
    RecordError,
)
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon import plan
from livedenoise.daemon.bring_up import BringUp
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.rates import Rates, status_snapshot
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.daemon.summary import StreamResult, Summary, run_summary
from livedenoise.engines.package import resolve_model
from livedenoise.record.run_folder import RunFolder, create_run_folder
from livedenoise.record.sidecar import SIDECAR_NAME, FrameLine, SidecarReader

_POLL_MS = 20
_SEVERITY = (EXIT_RECORD, EXIT_CAMERA, EXIT_DENOISER, EXIT_INTERNAL)

OnStatus = Callable[[StatusSnapshot], None]


class Daemon:
    """One run.

    Parameters
    ----------
    config : Config
        Configuration with the options applied.
    options : RunOptions
        Duration and place of the recording.
    config_text : str
        The configuration file as the user wrote it, kept in the run folder.
    """

    def __init__(self, config: Config, options: RunOptions, *, config_text: str = "") -> None:
        self._config = config
        self._options = options
        self._born_ns = now_ns()
        self._stop_requests = 0
        self._errors: list[str] = []
        self._notes: list[str] = []
        self._codes: list[int] = []
        self._facts: dict[str, plan.CameraFacts] = {}
        self._rings: list[Ring] = []
        self._told_dead: set[str] = set()
        self._told_stalled: dict[str, int] = {}
        self._draining = False
        self._given_up = ""
        self._rates = Rates()
        self._stages: Stages | None = None
        self._started_ns = 0
        self._stopped_ns = 0
        self._progress: tuple[int, int] = (0, 0)
        self._package: Path | None = None
        if config.denoise.enabled and config.denoise.engine != "identity":
            self._package = resolve_model(config.denoise.model)
        self._folder: RunFolder = create_run_folder(
            options.out, config.name, config=config, config_text=config_text
        )

    @property
    def run_dir(self) -> Path:
        """Return the run folder."""
        return self._folder.path

    def stage_pids(self) -> dict[str, int]:
        """Return the process ids of the stages by name (``kind.camera``), {} before they run."""
        if self._stages is None:
            return {}
        return {name: handle.process.pid for name, handle in self._stages.handles.items()}

    def request_stop(self) -> None:
        """Ask to stop: the first call drains, the second aborts and still finalises."""
        self._stop_requests += 1

    def run(self, on_status: OnStatus | None = None) -> Summary:
        """Run until the end and return the summary, also after errors of single stages."""
        remove_stale()
        remove_stale_endpoints()
        context = new_context()
        with Endpoints() as endpoints:
            server = ControlServer(context, endpoints.bind_to("control"))
            stages = Stages(server, self._folder.path / "logs", self._config.status.report_ms)
            self._stages = stages
            try:
                bring_up = BringUp(self._config, stages, endpoints, self._folder, self._package)
                self._facts, self._rings, self._notes = (
                    bring_up.facts,
                    bring_up.rings,
                    bring_up.notes,
                )
                bring_up.spawn(self._options.frames)
                bring_up.run(lambda: self._stop_requests > 0)
                self._started_ns = now_ns()
                self._watch(stages, on_status)
            except LiveDenoiseError as error:
                self._note_error(error)
            finally:
                self._shut_down(stages)
                server.close()
                context.term()
        return self._finish(stages)

    def _watch(self, stages: Stages, on_status: OnStatus | None) -> None:
        interval_ns = int(1e9 / self._config.status.refresh_hz)
        next_status_ns = 0
        self._progress = (0, now_ns())
        while not all(handle.over for handle in stages.handles.values()):
            stages.pump(_POLL_MS)
            self._follow_deaths(stages)
            self._follow_stalls(stages)
            self._follow_stop(stages)
            if on_status is not None and now_ns() >= next_status_ns:
                next_status_ns = now_ns() + interval_ns
                on_status(self._snapshot(stages))
            if self._aborting(stages):
                return
        if on_status is not None:
            on_status(self._snapshot(stages))

    def _follow_stop(self, stages: Stages) -> None:
        seconds = self._options.seconds
        timed_out = seconds is not None and now_ns() - self._started_ns >= seconds * 1e9
        if (timed_out or self._stop_requests) and not self._stopped_ns:
            self._stopped_ns = now_ns()
            for handle in stages.of_kind("acquire"):
                stages.send(handle, wire.Stop(drain=True))

    def _aborting(self, stages: Stages) -> bool:
        """Return whether to give up draining: asked twice, or nothing moved for too long."""
        if self._stop_requests > 1:
            self._given_up = "aborted"
            self._codes.append(EXIT_ABORTED)
            self._errors.append("aborted: frames under way were not waited for")
            return True
        moved = sum(sum(_counts(handle).values()) for handle in stages.handles.values())
        if moved != self._progress[0]:
            self._progress = (moved, now_ns())
        draining = bool(self._stopped_ns) or all(h.over for h in stages.of_kind("acquire"))
        if draining and not self._draining:
            # A slow camera may have been still for long before it was stopped.
            self._draining, self._progress = True, (moved, now_ns())
        if draining and now_ns() - self._progress[1] > self._drain_limit_ns:
            late = [handle.name for handle in stages.handles.values() if not handle.over]
            self._given_up = "drain_timeout"
            self._codes.append(EXIT_INTERNAL)
            self._errors.append(f"still busy after the drain time-out: {', '.join(late)}")
            return True
        return False

    def _follow_deaths(self, stages: Stages) -> None:
        """Tell the others about a stage that failed, once."""
        for handle in list(stages.handles.values()):
            if handle.failed is None or handle.name in self._told_dead:
                continue
            self._told_dead.add(handle.name)
            self._note_error(handle.failed, handle.failure_code)
            upstream, readers = _NEIGHBOURS[handle.kind]
            source = stages.get(upstream, handle.camera) if upstream else None
            if source is not None:
                stages.send(source, wire.ReaderGone(reader=handle.kind))
            for kind in readers:
                reader = stages.get(kind, handle.camera)
                if reader is not None:
                    stages.send(reader, wire.Stop(drain=True))

    def _follow_stalls(self, stages: Stages) -> None:
        """Stop a camera that delivers nothing, kill a denoiser that hangs, report a slow disk."""
        for handle in stages.handles.values():
            # Before the start no loop moves, however long a camera takes to get ready.
            moved_ns = max(handle.t_step_ns, handle.busy_until_ns, self._started_ns)
            idle_s = (now_ns() - moved_ns) * 1e-9
            if handle.over:
                continue
            if handle.name in self._told_stalled:
                self._end_stalled_camera(handle)
            elif idle_s >= self._stall_limit_s(handle):
                self._told_stalled[handle.name] = now_ns()
                self._on_stall(stages, handle, idle_s)

    def _on_stall(self, stages: Stages, handle: StageHandle, idle_s: float) -> None:
        if handle.kind == "acquire":
            self._note_error(
                CameraError(
                    f"camera {handle.camera}: no frame for {idle_s:.1f} s",
                    "check the camera; status.stall_timeout_s sets how long is waited",
                )
            )
            # Only this one: other cameras go on, and are stopped like any other run.
            stages.send(handle, wire.Stop(drain=True))
        elif handle.kind == "denoise":
            self._errors.append(f"stage {handle.name} has not moved for {idle_s:.1f} s: killed")
            handle.process.kill()
        else:
            self._notes.append(f"stage {handle.name} had not moved for {idle_s:.1f} s")

    def _end_stalled_camera(self, handle: StageHandle) -> None:
        """Kill a camera that does not come back from its stop either: its readers then drain."""
        waited_ns = now_ns() - max(self._told_stalled[handle.name], handle.t_step_ns)
        if handle.kind == "acquire" and waited_ns > self._drain_limit_ns:
            handle.process.kill()

    @property
    def _drain_limit_ns(self) -> int:
        return int(self._config.status.drain_timeout_s * 1e9)

    def _stall_limit_s(self, handle: StageHandle) -> float:
        limit_s = self._config.status.stall_timeout_s
        if handle.kind != "acquire":
            return limit_s
        prepared = self._facts[handle.camera].prepared
        if prepared.lossless:
            # It waits for the slowest reader, however long that takes.
            return float("inf")
        return limit_s + 3e-9 * prepared.period_ns + 1e-6 * prepared.exposure_us

    def _shut_down(self, stages: Stages) -> None:
        for handle in stages.handles.values():
            stages.send(handle, wire.Stop(drain=False))
        deadline_ns = now_ns() + 2_000_000_000
        while now_ns() < deadline_ns and any(not h.over for h in stages.handles.values()):
            stages.pump(_POLL_MS)
        stages.end_all()
        for ring in self._rings:
            ring.close()
        self._note_unclean_ends(stages)

    def _note_unclean_ends(self, stages: Stages) -> None:
        """Say which stages finished their work and then could not release what they held."""
        for handle in stages.handles.values():
            code = handle.process.exit_code()
            if handle.finished and code:
                log = handle.process.log_path
                self._notes.append(f"stage {handle.name} ended uncleanly (exit code {code}): {log}")

    def _note_error(self, error: LiveDenoiseError, code: int | None = None) -> None:
        self._errors.append(str(error))
        self._codes.append(error.exit_code if code is None else code)

    def _snapshot(self, stages: Stages) -> StatusSnapshot:
        return status_snapshot(
            self._config,
            self._options,
            stages,
            self._facts,
            self._rates,
            run_dir=str(self._folder.path),
            elapsed_s=(now_ns() - self._started_ns) * 1e-9,
            state="draining" if self._stopped_ns else "running",
            errors=tuple(self._errors),
            notes=tuple(self._notes),
        )

    def _finish(self, stages: Stages) -> Summary:
        first_ns = [
            gauge
            for handle in stages.of_kind("denoise")
            if (gauge := handle.metrics.get("gauges", {}).get("first_denoised_ns"))
        ]
        code = next((c for c in (EXIT_ABORTED, *_SEVERITY) if c in self._codes), None)
        if code is None:
            code = self._codes[0] if self._codes else EXIT_OK
        started_ns = self._started_ns or now_ns()
        summary = run_summary(
            [self._result(stages, camera.name) for camera in self._config.camera],
            seconds=(now_ns() - started_ns) * 1e-9,
            run_dir=str(self._folder.path),
            exit_code=code,
            errors=self._errors,
            notes=self._notes,
            first_denoised_s=(min(first_ns) - self._born_ns) * 1e-9 if first_ns else -1.0,
            first_denoised_ns=int(min(first_ns)) if first_ns else -1,
        )
        return self._written(summary)

    def _written(self, summary: Summary) -> Summary:
        """Leave the summary in the run folder; what was counted is not lost with a full disk."""
        if summary.exit_code == EXIT_OK and not summary.conserved:
            summary.exit_code = EXIT_INTERNAL
            summary.errors.append("the counts of frames do not add up: see streams in the summary")
        try:
            self._folder.write_summary(msgspec.to_builtins(summary))
        except RecordError as error:
            summary.errors.append(str(error))
            if summary.exit_code != EXIT_ABORTED:
                summary.exit_code = EXIT_RECORD
        return summary

    def _result(self, stages: Stages, camera: str) -> StreamResult:
        acquire, denoise = stages.get("acquire", camera), stages.get("denoise", camera)
        record, clean = stages.get("record", camera), stages.get("record-clean", camera)
        return StreamResult(
            camera=camera,
            acquire=acquire.facts if acquire else {},
            acquire_metrics=acquire.metrics if acquire else {},
            denoise=denoise.facts if denoise else {},
            denoise_metrics=denoise.metrics if denoise else {},
            record_metrics=self._recorded(record, "raw"),
            clean_metrics=self._recorded(clean, "clean"),
            recording=record is not None,
            denoising=denoise is not None,
            record_failed=self._why_unfinished(record, "recorder_failed"),
            denoise_failed=self._why_unfinished(denoise, "denoiser_failed"),
        )

    def _recorded(self, handle: StageHandle | None, stream: str) -> dict[str, Any]:
        """Return a recorder's metrics; of one that died without a word, what its file says."""
        if handle is None:
            return {}
        sidecar = self._folder.stream_folder(stream, handle.camera) / SIDECAR_NAME
        if handle.facts or not sidecar.is_file():
            return handle.metrics
        try:
            frames = sum(isinstance(line, FrameLine) for line in SidecarReader(sidecar))
        except ConfigError as error:
            self._errors.append(f"what {handle.name} recorded cannot be counted: {error}")
            return handle.metrics
        return {**handle.metrics, "counts": {**_counts(handle), "recorded": frames}}

    def _why_unfinished(self, handle: StageHandle | None, failed: str) -> str:
        """Return the known cause of frames a stage never took; empty when it took all."""
        if handle is not None and handle.failed is not None:
            return failed
        return self._given_up


_NEIGHBOURS: dict[str, tuple[str, tuple[str, ...]]] = {
    "acquire": ("", ("record", "denoise")),
    "denoise": ("acquire", ("record-clean",)),
    "record": ("acquire", ()),
    "record-clean": ("denoise", ()),
}
"""For each kind: whose reader it is, and which kinds read from it."""


def _counts(handle: StageHandle) -> dict[str, int]:
    counts: dict[str, int] = handle.metrics.get("counts", {})
    return counts
