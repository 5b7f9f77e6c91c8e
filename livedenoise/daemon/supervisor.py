"""Watching the stages of a run: who died, who hangs, who is replaced, who is given up.

Decisions are made by pure parts (``hang.judge``, ``RestartBudget``); this module follows them. A
stage that cannot be replaced is given up: its writers forget it, its readers drain, and the run
goes on without it as far as it can. The raw recording is the last thing to stop.
"""

from __future__ import annotations

from livedenoise.bus import wire
from livedenoise.core.camera import WAITS
from livedenoise.core.clock import now_ns
from livedenoise.core.config import Config
from livedenoise.core.errors import EXIT_CONFIG, CameraError, LiveDenoiseError
from livedenoise.daemon import plan
from livedenoise.daemon.bring_up import OPEN_TIMEOUT_S, READY_TIMEOUT_S
from livedenoise.daemon.hang import Hang, Limits, Moves, judge
from livedenoise.daemon.line import READERS, Line
from livedenoise.daemon.outcome import Outcome
from livedenoise.daemon.replace import Replacements
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.daemon.summary import Incident
from livedenoise.supervise.budget import RestartBudget

_LATE_NS = 500_000_000
"""A round of the daemon's own loop longer than this says nothing about its stages."""

_FROZEN_OPENING_NS = 10_000_000_000
_FIRST_WORD_NS = 20_000_000_000
"""Longest time from a process's birth to its first word: imports from a cold disk."""

_READER_NAMES = {"view": ("view", "share")}
"""Names on the bus of kinds that read a stream more than once."""


class Supervisor:
    """Follows deaths and hangs.

    Parameters
    ----------
    frames : int or None
        Frames asked of each camera, None for no limit.
    """

    def __init__(
        self,
        config: Config,
        stages: Stages,
        lines: dict[str, Line],
        outcome: Outcome,
        *,
        frames: int | None,
    ) -> None:
        self._config = config
        self._stages = stages
        self._lines = lines
        self._outcome = outcome
        self._frames = frames
        self._replacements = Replacements(stages, outcome.error)
        self._budgets: dict[str, RestartBudget] = {}
        self._given_up: set[str] = set()
        self._stalled: dict[str, int] = {}
        self._drained: set[str] = set()
        self._started_ns = now_ns()
        self._awake_ns = self._round_ns = now_ns()
        self.stopping = False

    def begin(self) -> None:
        """Start watching: everything runs from this moment."""
        self._started_ns = self._awake_ns = self._round_ns = now_ns()

    def follow(self) -> None:
        """Do one round: deaths, hangs, successors, streams that are over."""
        moment_ns = now_ns()
        if moment_ns - self._round_ns > _LATE_NS:
            # This process was itself asleep (a laptop's lid, a very busy machine).
            self._awake_ns = moment_ns
        self._round_ns = moment_ns
        for handle in list(self._stages.handles.values()):
            if handle.failed is not None and handle.name not in self._given_up:
                self._on_death(handle)
            elif not handle.over:
                self._follow_moves(handle, moment_ns)
        self._replacements.follow()
        self._follow_ends()
        for line in self._lines.values():
            line.teach_view()
            line.follow_left_rings()

    @property
    def lasting(self) -> bool:
        """Return whether some stage still works, or is about to."""
        return self._replacements.under_way or any(
            not handle.over for handle in self._stages.handles.values()
        )

    def _on_death(self, dead: StageHandle) -> None:
        line = self._lines[dead.camera]
        if dead.kind == "denoise" and dead.configured:
            # Before that, the clean ring is still its predecessor's.
            _count_last_frames(dead, line)
        failed = dead.failed
        incident = Incident(
            stage=dead.name,
            what=failed.message if failed else "",
            at_s=(now_ns() - self._started_ns) * 1e-9,
            pid=dead.process.pid,
        )
        self._outcome.incident(incident)
        self._free_attaching_readers(dead, line)
        if self._may_replace(dead, line):
            self._outcome.note(
                f"{incident.what}, {incident.at_s:.1f} s after the start: replaced "
                f"(number {dead.restarts + 1})"
            )
            self._stalled.pop(dead.name, None)
            self._replace(dead, line, incident)
        else:
            self._give_up(dead, line)

    def _replace(self, dead: StageHandle, line: Line, incident: Incident) -> None:
        try:
            self._replacements.replace(line, dead, self._frames_left(line), incident)
        except LiveDenoiseError as error:
            # The system starts no process any more: the run goes on without this one.
            self._outcome.error(error, dead.failure_code)
            self._give_up(dead, line)

    def _free_attaching_readers(self, dead: StageHandle, line: Line) -> None:
        """Kill successors that wait for an answer of the dead writer: it would never come.

        The next ones are configured only when the writer's own successor runs.
        """
        for kind in READERS.get(dead.kind, ()):
            reader = line.get(kind)
            if reader is None or reader.over or not reader.configured or reader.ready is not None:
                continue
            reader.excused = True
            self._kill(reader, f"stage {reader.name} was attaching to {dead.name}: started again")

    def _may_replace(self, dead: StageHandle, line: Line) -> bool:
        if dead.hopeless or not self._worth_replacing(dead, line):
            return False
        supervise = self._config.supervise
        budget = self._budgets.setdefault(
            dead.name, RestartBudget(supervise.restarts, int(supervise.window_s * 1e9))
        )
        return dead.excused or budget.take(now_ns())

    def _worth_replacing(self, dead: StageHandle, line: Line) -> bool:
        """Return whether a successor could do what its predecessor did."""
        acquire, facts = line.existing("acquire"), line.facts
        code = EXIT_CONFIG if dead.failed is None else dead.failed.exit_code
        match dead.kind:
            case "acquire":
                # A camera that said what is wrong would say it again; a replay would start anew.
                again = _camera_may_start_again(line)
                left = self._frames_left(line)
                return dead.silent_death and not self.stopping and again and left != 0
            case "record" | "record-clean":
                # A full disk is no better for a second process, and a writer that is over has
                # nobody to answer it.
                writer = acquire if dead.kind == "record" else line.existing("denoise")
                return dead.silent_death and not writer.over
            case "denoise":
                owed = facts is not None and plan.denoises_all(self._config, facts)
                return code != EXIT_CONFIG and not acquire.over and (owed or not self.stopping)
            case _:
                return not (self.stopping or acquire.over)

    def _frames_left(self, line: Line) -> int | None:
        if self._frames is None:
            return None
        return max(0, self._frames - line.raw_totals().captured)

    def _give_up(self, dead: StageHandle, line: Line) -> None:
        """Tell the others about a stage that is gone for good, once."""
        self._given_up.add(dead.name)
        if dead.failed is None:
            return
        if self._is_no_error(dead):
            self._outcome.note(f"{dead.failed.message}: not replaced")
        else:
            self._outcome.error(dead.failed, dead.failure_code)
        for writer in (kind for kind, readers in READERS.items() if dead.kind in readers):
            handle = line.get(writer)
            if handle is not None and handle.configured:
                # One not configured yet will not be told of this reader at all.
                for reader in _READER_NAMES.get(dead.kind, (dead.kind,)):
                    self._stages.send(handle, wire.ReaderGone(reader=reader))

    def _is_no_error(self, dead: StageHandle) -> bool:
        """Return whether the run is whole without it: a view; what died while it was ending."""
        if dead.kind == "view":
            return True
        return self.stopping and dead.silent_death and dead.kind in ("acquire", "denoise")

    def _follow_moves(self, handle: StageHandle, moment_ns: int) -> None:
        hang = judge(self._moves(handle), moment_ns, self._limits(handle))
        if handle.name in self._stalled:
            self._end_stalled_camera(handle, moment_ns)
        match hang:
            case Hang.FROZEN | Hang.STUCK:
                self._kill(handle, f"stage {handle.name} was {hang.value}: killed")
            case Hang.NO_FRAMES if handle.name not in self._stalled:
                self._stalled[handle.name] = moment_ns
                self._on_no_frames(handle, moment_ns)
            case Hang.SLOW if handle.name not in self._stalled:
                self._stalled[handle.name] = moment_ns
                self._outcome.note(f"stage {handle.name} did not move for a while: a slow disk?")
            case _:
                self._kill_late_starter(handle, moment_ns)

    def _kill(self, handle: StageHandle, why: str) -> None:
        self._outcome.note(why)
        handle.process.kill()
        # Heard of now, so that it is not killed again while it dies.
        handle.t_heard_ns = handle.t_step_ns = now_ns()

    def _kill_late_starter(self, handle: StageHandle, moment_ns: int) -> None:
        if handle.ready is not None:
            return
        # A camera is given as long as at the start of the run; the others wait for what they read.
        opening = handle.kind == "acquire" and handle.info is None
        limit_s = OPEN_TIMEOUT_S if opening else READY_TIMEOUT_S
        since_ns = handle.t_configured_ns if handle.configured else handle.t_born_ns
        waits = handle.info is not None and not handle.configured
        if not waits and moment_ns - since_ns > limit_s * 1e9:
            self._kill(handle, f"stage {handle.name} was not ready in {limit_s:.0f} s")

    def _moves(self, handle: StageHandle) -> Moves:
        base_ns = max(self._started_ns, self._awake_ns, handle.t_born_ns)
        return Moves(
            kind=handle.kind,
            running=handle.state == "running",
            heard=handle.t_heard_ns > handle.t_born_ns,
            t_heard_ns=max(handle.t_heard_ns, base_ns),
            t_moved_ns=max(handle.t_step_ns, base_ns),
            busy_until_ns=handle.busy_until_ns,
        )

    def _limits(self, handle: StageHandle) -> Limits:
        status = self._config.status
        # A report may be as late as the time between two of them.
        slack_ns = status.report_ms * 1_000_000
        return Limits(
            silence_ns=int(self._config.supervise.silence_s * 1e9) + slack_ns,
            opening_ns=_FROZEN_OPENING_NS,
            first_word_ns=_FIRST_WORD_NS,
            slow_ns=int(status.stall_timeout_s * 1e9),
            stuck_recorder_ns=int(status.drain_timeout_s * 1e9),
            no_frames_ns=self._no_frames_ns(self._lines[handle.camera]),
        )

    def _no_frames_ns(self, line: Line) -> int | None:
        facts = line.facts
        if facts is None or facts.prepared.lossless or WAITS in facts.info.capabilities:
            # It waits for its slowest reader, or for whoever sends the frames.
            return None
        limit_s = self._config.status.stall_timeout_s
        return int(limit_s * 1e9) + 3 * facts.prepared.period_ns + 1000 * facts.prepared.exposure_us

    def _on_no_frames(self, handle: StageHandle, moment_ns: int) -> None:
        idle_s = (moment_ns - max(handle.t_step_ns, self._started_ns)) * 1e-9
        self._outcome.error(
            CameraError(
                f"camera {handle.camera}: no frame for {idle_s:.1f} s",
                "check the camera; status.stall_timeout_s sets how long is waited",
            )
        )
        # It said nothing is wrong, and delivers nothing: another process would not help.
        handle.hopeless = True
        # Only this one: other cameras go on, and are stopped like any other run.
        self._stages.send(handle, wire.Stop(drain=True))

    def _end_stalled_camera(self, handle: StageHandle, moment_ns: int) -> None:
        """Kill a camera that does not come back from its stop either: its readers then drain."""
        if handle.kind != "acquire":
            return
        waited_ns = moment_ns - max(self._stalled[handle.name], handle.t_step_ns)
        if waited_ns > self._config.status.drain_timeout_s * 1e9:
            handle.hopeless = True
            handle.process.kill()

    def _follow_ends(self) -> None:
        """Once the writer of a stream is over, its readers need wait for nothing more."""
        for handle in list(self._stages.handles.values()):
            pending = handle.failed is not None and handle.name not in self._given_up
            if not handle.over or pending or handle.name in self._drained:
                continue
            self._drained.add(handle.name)
            for kind in READERS.get(handle.kind, ()):
                reader = self._stages.get(kind, handle.camera)
                if reader is not None and not (kind == "view" and handle.kind == "denoise"):
                    self._stages.send(reader, wire.Stop(drain=True))


def _count_last_frames(dead: StageHandle, line: Line) -> None:
    """Count what a denoiser published after its last report; those count as denoised."""
    counts: dict[str, int] = dict(dead.metrics.get("counts", {}))
    told = counts.get("denoised", 0) + counts.get("passthrough", 0)
    counts["denoised"] = counts.get("denoised", 0) + max(0, line.clean_published() - told)
    dead.metrics = {**dead.metrics, "counts": counts}


def _camera_may_start_again(line: Line) -> bool:
    """Return whether the camera goes on where it is; a recording would begin at its start."""
    return line.camera.kind != "replay"
