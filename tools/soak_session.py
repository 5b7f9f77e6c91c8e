"""A soak: one run after the other, blows on each, checks after each.

Knows: when to hit whom, when to begin a new run, what must hold at the end of one. Must not know:
how a process is found, what makes a recording whole, how the report is made.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable

import msgspec
import soak_check
import soak_report
from soak_facts import Options, Record, draw
from soak_run import SoakError, SoakRun
from soak_times import note_recovery

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.record.recover import recover_run

SETTLE_S = 60.0
CHILDREN_GONE_MS = 2000.0
HANG_S = 30.0
"""Longest time until a hung stage is killed: 10 s for one that was starting, on a busy machine."""

_TICK_S = 0.02
_SAMPLE_S = 1.0
_ASK_S = 5.0
_AWAY_S = 15.0
_ENOUGH_BROKEN_RUNS = 3


class Soak:
    """Runs under blows until the goal is reached or ``stopping`` is set.

    Parameters
    ----------
    show : callable
        Called with what there is to say, often.
    """

    def __init__(self, options: Options, show: Callable[[str], None]) -> None:
        self.options = options
        self.records: list[Record] = []
        self.stopping = False
        self._show = show
        self._rng = random.Random(options.seed)  # noqa: S311  (a schedule, no secret)
        self._strike = draw(self._rng, options)
        self._struck_s = time.monotonic()
        self._begun_s = time.monotonic()
        self._dead: list[SoakRun] = []
        self._said = ""

    @property
    def kills(self) -> int:
        """Return how many processes got a SIGKILL."""
        blows = [blow for record in self.records for blow in record.blows]
        return sum(len(blow.pids) for blow in blows if blow.sort == "SIGKILL")

    @property
    def done(self) -> float:
        """Return the part of the goal that is reached, 0 to 1."""
        if self.options.kills is not None:
            return min(1.0, self.kills / max(1, self.options.kills))
        elapsed_s = time.monotonic() - self._begun_s
        return min(1.0, elapsed_s / (60 * (self.options.minutes or 0) or 1e-9))

    @property
    def problems(self) -> list[str]:
        """Return every broken promise."""
        return [f"run {r.number}: {text}" for r in self.records for text in r.problems]

    def run(self) -> None:
        """Do all of it."""
        while not self.stopping and self.done < 1 and not self._too_broken():
            self._one_run(blows=True)
        if self._dead:
            # What a killed daemon left behind is removed by the next start.
            self._one_run(blows=False)

    def _too_broken(self) -> bool:
        return sum(bool(record.problems) for record in self.records) >= _ENOUGH_BROKEN_RUNS

    def _one_run(self, *, blows: bool) -> None:
        record = Record(number=len(self.records) + 1)
        self.records.append(record)
        run = SoakRun(self.options.setup, self.options.out / f"run-{record.number:04d}")
        record.blows, record.samples = run.blows, run.samples
        try:
            self._tell("starting")
            run.wait_until_running()
            self._check_leftovers(record)
            self._struck_s = time.monotonic()
            while blows and run.alive and not self._over(run):
                self._tick(run, record)
            self._end(run, record)
        except (SoakError, LiveDenoiseError) as error:
            record.problems.append(str(error))
        finally:
            run.clean_up()
        record.seconds, record.unanswered = run.age_s, run.unanswered
        if not record.problems:
            shutil.rmtree(run.folder)

    def _over(self, run: SoakRun) -> bool:
        options = self.options
        long = run.age_s > 60 * options.run_minutes
        return self.stopping or self.done >= 1 or long or self._written_mb(run) > options.disk_mb

    def _written_mb(self, run: SoakRun) -> float:
        return run.age_s * self.options.setup.mb_per_s

    def _tick(self, run: SoakRun, record: Record) -> None:
        run.follow()
        if not run.samples or run.age_s - run.samples[-1].t_s >= _SAMPLE_S:
            run.sample()
            _find_hung(run)
        if run.age_s >= _ASK_S * (record.asked + 1):
            record.asked += 1
            self._said = run.ask()
        waited_s = time.monotonic() - self._struck_s
        if waited_s >= self._strike.wait_s and self._do_strike(run, waited_s):
            self._strike = draw(self._rng, self.options)
            self._struck_s = time.monotonic()
        self._tell(self._said)
        time.sleep(_TICK_S)

    def _do_strike(self, run: SoakRun, waited_s: float) -> bool:
        """Do the drawn blow if its victims are there; return whether it is over and done with."""
        strike = self._strike
        if not strike.kinds:
            # A frozen child cannot notice that its parent died: no promise covers both at once.
            if run.victims:
                return False
            run.kill_daemon()
            return True
        found = {kind: run.hittable(kind) for kind in strike.kinds}
        there = {kind: process for kind, process in found.items() if process is not None}
        if len(there) < len(found):
            return waited_s > strike.wait_s + _AWAY_S
        run.hit(there, strike.sort)
        return True

    def _end(self, run: SoakRun, record: Record) -> None:
        if run.blows and run.blows[-1].kinds == ("daemon",):
            self._end_killed(run, record)
        elif not run.alive:
            raise SoakError(f"ended by itself with {run.daemon.returncode}: {run.words()}")
        else:
            self._end_in_order(run, record)

    def _end_in_order(self, run: SoakRun, record: Record) -> None:
        self._tell("stopping")
        deadline_s = time.monotonic() + SETTLE_S
        while not run.settled():
            if time.monotonic() > deadline_s:
                stages = sorted(run.processes())
                record.problems.append(f"not whole {SETTLE_S:.0f} s after the last blow: {stages}")
                break
            time.sleep(_TICK_S)
        run.sample()
        record.ended = f"exit code {(code := run.stop())}"
        record.problems += [f"left behind: {path}" for path in run.leftovers()]
        record.problems += soak_report.leak_problems(run.samples)
        self._check(run, record, code)
        hit = {pid for blow in run.blows for pid in blow.pids}
        unheard = hit - {incident["pid"] for incident in record.summary.get("incidents", ())}
        if unheard:
            record.problems.append(f"summary: says nothing of the deaths of {sorted(unheard)}")

    def _end_killed(self, run: SoakRun, record: Record) -> None:
        self._tell("recovering")
        record.ended = "killed"
        gone_ms = run.blows[-1].gone_ms
        if gone_ms is None or gone_ms > CHILDREN_GONE_MS:
            record.problems.append(f"children of the killed daemon: gone after {gone_ms} ms")
        self._dead.append(run)
        if run.run_dir is not None:
            found = recover_run(run.run_dir)
            if found.exit_code:
                record.problems.append(f"recover: {found.lost} frames lost, {found.found}")
            self._check(run, record, None)

    def _check(self, run: SoakRun, record: Record, exit_code: int | None) -> None:
        if run.run_dir is None:
            raise SoakError("there is no run folder")
        self._tell("checking")
        seen = {stream: tail.seen() for stream, tail in run.tails.items()}
        found = soak_check.check_run(
            run.run_dir,
            seen=seen,
            exit_code=exit_code,
        )
        record.problems += found.problems
        note_recovery(run.blows, found.streams["clean"].denoised_ns)
        for check in found.streams.values():
            # Millions of times in a long soak: what they say is in the blows now.
            check.denoised_ns = []
        record.streams = msgspec.to_builtins(found.streams)
        summary = run.run_dir / "summary.json"
        record.summary = msgspec.json.decode(summary.read_bytes())

    def _check_leftovers(self, record: Record) -> None:
        for dead in self._dead:
            record.problems += [
                f"left behind by the killed daemon {dead.daemon.pid}: {path}"
                for path in dead.leftovers()
            ]
        self._dead.clear()

    def _tell(self, what: str) -> None:
        blows = [blow for record in self.records for blow in record.blows]
        last = f"last {'+'.join(blows[-1].kinds)} {blows[-1].sort}" if blows else "no blow yet"
        self._show(f"run {len(self.records)}, {len(blows)} blows, {last}; {what}")


def _find_hung(run: SoakRun) -> None:
    for pid, blow in run.victims.items():
        age_s = (now_ns() - blow.t_ns) * 1e-9
        if age_s > HANG_S:
            kinds = "+".join(blow.kinds)
            raise SoakError(f"{kinds} (process {pid}) is there {age_s:.0f} s after {blow.sort}")
