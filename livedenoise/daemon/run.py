"""The daemon: brings the stages of a run up in order, has them watched, and ends them in order.

Start: rings, record, denoise, acquire last. Stop: acquire first, the others drain what is under
way, and everything is finalised. A dead denoiser never stops the raw recording; a full disk never
stops the live view; a killed process is replaced.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.context import Context, new_context
from livedenoise.bus.control import ControlServer
from livedenoise.bus.doors import check_doors, share_endpoint
from livedenoise.bus.endpoints import Endpoints, remove_stale_endpoints
from livedenoise.bus.publish import MetricsPublisher
from livedenoise.bus.segment import remove_stale
from livedenoise.core.camera import WAITS
from livedenoise.core.clock import now_ns
from livedenoise.core.config import Config
from livedenoise.core.errors import (
    EXIT_ABORTED,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_RECORD,
    BusError,
    ConfigError,
    LiveDenoiseError,
    RecordError,
)
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.bring_up import BringUp
from livedenoise.daemon.drain import DrainWatch
from livedenoise.daemon.line import Line, LineSettings
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.outcome import Outcome
from livedenoise.daemon.remote import PREPARING, Remote, open_remote
from livedenoise.daemon.results import stream_result
from livedenoise.daemon.snapshot import SnapshotMemory, status_snapshot
from livedenoise.daemon.stages import Stages
from livedenoise.daemon.summary import StreamResult, Summary, run_summary
from livedenoise.daemon.supervisor import Supervisor
from livedenoise.engines.package import resolve_model
from livedenoise.record.run_folder import RunFolder, create_run_folder

_POLL_MS = 20
_SILENT = {
    "network": "nobody sent one",
    "micromanager": "the live view was off, or of other channels only",
}
"""Why a camera that waits for frames may have waited in vain, by its kind."""

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
        check_doors(config)
        self._stop_requests = 0
        self._outcome = Outcome()
        self._lines: dict[str, Line] = {}
        self._drain = DrainWatch(int(config.status.drain_timeout_s * 1e9))
        self._given_up = ""
        self._memory = SnapshotMemory()
        self._stages: Stages | None = None
        self._remote: Remote | None = None
        self._metrics: MetricsPublisher | None = None
        self._started_ns = 0
        self._stopped_ns = 0
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
        handles = list(self._stages.handles.items())
        return {name: handle.process.pid for name, handle in handles}

    def request_stop(self) -> None:
        """Ask to stop: the first call drains, the second aborts and still finalises."""
        self._stop_requests += 1

    def run(self, on_status: OnStatus | None = None) -> Summary:
        """Run until the end and return the summary, also after errors of single stages."""
        remove_stale()
        remove_stale_endpoints()
        context = new_context()
        with ExitStack() as stack:
            stack.callback(context.term)
            endpoints = stack.enter_context(Endpoints())
            server = ControlServer(context, endpoints.bind_to("control"))
            stack.callback(server.close)
            stages = Stages(server, self._folder.path / "logs", self._config.status.report_ms)
            self._stages = stages
            self._make_lines(stages, endpoints)
            self._remote = stack.enter_context(self._open_remote(context, endpoints))
            if self._remote.note:
                self._outcome.note(self._remote.note)
            try:
                self._metrics = self._open_metrics(context, stack)
                self._bring_up(stages)
                self._watch(stages, on_status)
            except LiveDenoiseError as error:
                self._outcome.error(error)
            finally:
                self._shut_down(stages)
                self._note_strangers(server)
            # Before it can no longer be found: whoever waits for the end then reads the summary.
            return self._finish(stages)

    def _open_remote(
        self, context: Context, endpoints: Endpoints
    ) -> AbstractContextManager[Remote]:
        return open_remote(
            context,
            endpoints,
            run_id=self._folder.run_id,
            name=self._config.name,
            run_dir=self._folder.path,
        )

    def _open_metrics(self, context: Context, stack: ExitStack) -> MetricsPublisher | None:
        share = self._config.share
        if not share.enabled:
            return None
        try:
            publisher = MetricsPublisher(context, share_endpoint(self._config), keys=share.keys)
        except BusError as error:
            raise ConfigError(error.message, error.hint) from error
        stack.callback(publisher.close)
        return publisher

    def _serve(self) -> None:
        """Answer those who ask from outside."""
        if self._remote is not None and self._stages is not None:
            stages = self._stages
            self._remote.serve(lambda: self._snapshot(stages), self._stop_from_outside)

    def _stop_from_outside(self, abort: bool) -> None:
        self._stop_requests = max(self._stop_requests, 2 if abort else 1)

    def _make_lines(self, stages: Stages, endpoints: Endpoints) -> None:
        settings = LineSettings(
            config=self._config,
            stages=stages,
            endpoints=endpoints,
            folder=self._folder,
            package=self._package,
            token=secrets.token_hex(16),
        )
        cameras = enumerate(self._config.camera)
        self._lines = {camera.name: Line(camera, index, settings) for index, camera in cameras}

    def _bring_up(self, stages: Stages) -> None:
        bring_up = BringUp(
            stages,
            list(self._lines.values()),
            self._folder.path / "logs",
            stop_requested=lambda: self._stop_requests > 0,
            serve=self._serve,
        )
        bring_up.spawn(self._options.frames)
        bring_up.run()
        self._started_ns = now_ns()

    def _watch(self, stages: Stages, on_status: OnStatus | None) -> None:
        supervisor = Supervisor(
            self._config, stages, self._lines, self._outcome, frames=self._options.frames
        )
        supervisor.begin()
        interval_ns = int(1e9 / self._config.status.refresh_hz)
        next_status_ns = 0
        while supervisor.lasting:
            stages.pump(_POLL_MS)
            self._serve()
            self._follow_stop(stages, supervisor)
            supervisor.follow()
            if now_ns() >= next_status_ns:
                next_status_ns = now_ns() + interval_ns
                self._tell(stages, on_status)
            if self._aborting(stages):
                return
        self._tell(stages, on_status)

    def _tell(self, stages: Stages, on_status: OnStatus | None) -> None:
        """Show and publish the state of the run; alerts and curves need it also unwatched."""
        snapshot = self._snapshot(stages)
        if self._metrics is not None:
            self._metrics.publish(snapshot)
        if on_status is not None:
            on_status(snapshot)

    def _follow_stop(self, stages: Stages, supervisor: Supervisor) -> None:
        seconds = self._options.seconds
        timed_out = seconds is not None and now_ns() - self._started_ns >= seconds * 1e9
        if (timed_out or self._stop_requests) and not self._stopped_ns:
            self._stopped_ns = now_ns()
            supervisor.stopping = True
            for handle in stages.of_kind("acquire"):
                stages.send(handle, wire.Stop(drain=True))

    def _aborting(self, stages: Stages) -> bool:
        """Return whether to give up draining: asked twice, or nothing moved for too long."""
        if self._stop_requests > 1:
            self._given_up = "aborted"
            self._outcome.error("aborted: frames under way were not waited for", EXIT_ABORTED)
            return True
        handles = list(stages.handles.values())
        draining = bool(self._stopped_ns) or all(h.over for h in stages.of_kind("acquire"))
        if not self._drain.follow(handles, draining=draining, now_ns=now_ns()):
            return False
        late = [handle.name for handle in handles if not handle.over]
        self._given_up = "drain_timeout"
        text = f"still busy after the drain time-out: {', '.join(late)}"
        self._outcome.error(text, EXIT_INTERNAL)
        return True

    def _shut_down(self, stages: Stages) -> None:
        for handle in stages.handles.values():
            stages.send(handle, wire.Stop(drain=False))
        deadline_ns = now_ns() + 2_000_000_000
        while now_ns() < deadline_ns and any(not h.over for h in stages.handles.values()):
            stages.pump(_POLL_MS)
            self._serve()
        stages.end_all(max(line.linger_s() for line in self._lines.values()))
        for line in self._lines.values():
            line.close()
        self._note_unclean_ends(stages)

    def _note_unclean_ends(self, stages: Stages) -> None:
        """Say which stages finished their work and then could not release what they held."""
        for handle in stages.handles.values():
            code = handle.process.exit_code()
            if handle.finished and code:
                log = handle.process.log_path
                self._outcome.note(f"stage {handle.name} ended uncleanly (exit code {code}): {log}")

    def _notes(self) -> list[str]:
        lines = self._lines.values()
        found = [note for line in lines for note in line.notes]
        # Last, where a small screen still shows them: they may mean loss.
        counted = [note for line in lines for note in line.counter_notes()]
        return [*found, *self._outcome.notes, *counted]

    def _snapshot(self, stages: Stages) -> StatusSnapshot:
        return status_snapshot(
            self._config,
            self._options,
            stages,
            {name: line.facts for name, line in self._lines.items() if line.facts is not None},
            self._memory,
            run_dir=str(self._folder.path),
            elapsed_s=(now_ns() - self._started_ns) * 1e-9 if self._started_ns else 0.0,
            state=self._state(),
            errors=tuple(self._outcome.errors),
            notes=tuple(self._notes()),
            run_id=self._folder.run_id,
            pid=os.getpid(),
        )

    def _state(self) -> str:
        if not self._started_ns:
            return PREPARING
        return "draining" if self._drain.draining or self._stopped_ns else "running"

    def _note_strangers(self, server: ControlServer) -> None:
        """Say how often somebody spoke on the run's sockets who had no business there."""
        counts = {
            "the stages' channel": server.wire_errors,
            "status and stop": 0 if self._remote is None else self._remote.refused,
            "shared metrics": 0 if self._metrics is None else self._metrics.refused,
        }
        for line in self._lines.values():
            counts |= line.refusals()
        for where, count in counts.items():
            if count:
                self._outcome.note(f"refused on {where}: {count} messages or connections")

    def _finish(self, stages: Stages) -> Summary:
        results = [
            stream_result(line, stages, self._folder, self._given_up)
            for line in self._lines.values()
        ]
        self._note_unreadable(results)
        self._note_silent()
        firsts = (stages.first("denoise", name, "first_denoised_ns") for name in self._lines)
        first_ns = [first for first in firsts if first]
        summary = run_summary(
            results,
            seconds=(now_ns() - (self._started_ns or now_ns())) * 1e-9,
            run_dir=str(self._folder.path),
            exit_code=self._outcome.exit_code,
            errors=self._outcome.errors,
            notes=self._notes(),
            first_denoised_s=(min(first_ns) - self._born_ns) * 1e-9 if first_ns else -1.0,
            first_denoised_ns=int(min(first_ns)) if first_ns else -1,
            incidents=self._outcome.incidents,
        )
        return self._written(summary)

    def _note_silent(self) -> None:
        """Say which camera waited in vain: a run without frames is no error of its own."""
        for line in self._lines.values():
            waits = line.facts is not None and WAITS in line.facts.info.capabilities
            if waits and not line.raw_totals().captured:
                why = _SILENT.get(line.camera.kind, "nobody gave one")
                self._outcome.note(f"{line.name}: no frame came: {why}")

    def _note_unreadable(self, results: list[StreamResult]) -> None:
        for result in results:
            for metrics in (result.record_metrics, result.clean_metrics):
                if "unreadable" in metrics:
                    text = f"{metrics['unreadable']}: what was recorded cannot be counted"
                    self._outcome.error(text, EXIT_RECORD)

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
