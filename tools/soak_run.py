"""One run under the soak: its daemon, its stage processes, the blows on them, what is seen of it.

Knows: processes from outside (which stage a process is says the log it writes to), the sidecars as
they grow, the memory. Must not know: when and whom to hit, what makes a recording whole. Uses
nothing of the daemon's but its command line and its answers to ``status``, so that it sees what
another program would see.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from soak_facts import CAMERA, Blow, Sample, Setup
from soak_tail import Tail

from livedenoise.core.clock import now_ns
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.daemon.registry import find_daemon
from livedenoise.daemon.remote import DaemonLink

START_S = 60.0
END_S = 90.0
CHILDREN_GONE_S = 10.0
_SHM_DIR = Path("/dev/shm")  # noqa: S108  (the platform's shared memory, not a temporary file)


class SoakError(Exception):
    """The run under the soak cannot go on; the message is a finding."""


class SoakRun:
    """One run of ``livedenoise run`` in a process of its own.

    Parameters
    ----------
    setup : Setup
        Its configuration.
    folder : Path
        Folder for this run alone; made here.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.setup = setup
        self.blows: list[Blow] = []
        self.samples: list[Sample] = []
        self.unanswered = 0
        self.victims: dict[int, Blow] = {}
        self._known: dict[int, psutil.Process] = {}
        config = folder / "soak.toml"
        config.write_text(setup.toml(), encoding="utf-8")
        command = [sys.executable, "-m", "livedenoise", "run", str(config.resolve())]
        command += ["--headless", "--json", "--out", str((folder / "runs").resolve())]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            # A session of its own: Ctrl-C in the terminal is for the soak, which then stops it.
            self.daemon = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        self.started_s = time.monotonic()
        self.tails: dict[str, Tail] = {}
        self.run_dir: Path | None = None

    @property
    def alive(self) -> bool:
        """Return whether the daemon runs."""
        return self.daemon.poll() is None

    @property
    def age_s(self) -> float:
        """Return the time since its start."""
        return time.monotonic() - self.started_s

    def wait_until_running(self) -> None:
        """Wait until every stage is there and frames are recorded and denoised.

        Raises
        ------
        SoakError
            If it ends instead, or takes longer than a minute.
        """
        while self.age_s < START_S:
            if not self.alive:
                raise SoakError(f"ended while it started: {self.words()}")
            if self._recording() and set(self.processes()) == self.setup.stages:
                return
            time.sleep(0.05)
        found = sorted(self.processes())
        raise SoakError(f"not running after {START_S:.0f} s, stages {found}: {self.words()}")

    def processes(self) -> dict[str, psutil.Process]:
        """Return the living stage processes by kind, as their open logs say."""
        found = {}
        for process in self._children():
            kind = _kind(process)
            if kind:
                found[kind] = process
                self._known.setdefault(process.pid, process)
        return found

    def hittable(self, kind: str) -> psutil.Process | None:
        """Return a stage's process unless it is away, or hit already and not gone yet."""
        process = self.processes().get(kind)
        return None if process is None or process.pid in self.victims else process

    def hit(self, victims: dict[str, psutil.Process], sort: signal.Signals) -> Blow | None:
        """Send a signal to stage processes; None when all of them ended just now."""
        pids, ages_s = {}, []
        for kind, process in victims.items():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(sort)
                pids[kind] = process.pid
                ages_s.append(time.time() - process.create_time())
        if not pids:
            return None
        blow = Blow(
            t_ns=now_ns(),
            kinds=tuple(pids),
            sort=sort.name,
            pids=tuple(pids.values()),
            youngest_s=min(ages_s),
        )
        self.blows.append(blow)
        self.victims |= dict.fromkeys(blow.pids, blow)
        self.follow()
        return blow

    def follow(self) -> None:
        """Take what the sidecars say and which victims are gone."""
        for tail in self.tails.values():
            tail.follow()
        for pid, blow in list(self.victims.items()):
            if _is_gone(self._known[pid]):
                del self.victims[pid]
                if not set(blow.pids) & set(self.victims):
                    blow.gone_ms = (now_ns() - blow.t_ns) * 1e-6

    def settled(self) -> bool:
        """Return whether every stage is back and a frame since the last blow is denoised."""
        self.follow()
        last_ns = self.blows[-1].t_ns if self.blows else 0
        back = set(self.processes()) == self.setup.stages
        return back and not self.victims and self.tails["clean"].denoised_host_ns > last_ns

    def sample(self) -> None:
        """Measure memory now."""
        try:
            daemon = psutil.Process(self.daemon.pid)
            family = [daemon, *daemon.children()]
            private = [mb for mb in map(_private_mb, family) if mb is not None]
            daemon_mb, fds = _private_mb(daemon), daemon.num_fds()
        except psutil.Error:
            return
        segments = self.segments()
        self.samples.append(
            Sample(
                t_s=self.age_s,
                daemon_mb=daemon_mb or 0.0,
                private_mb=sum(private),
                shm_mb=sum(_allocated(path) for path in segments) * 1e-6,
                segments=len(segments),
                daemon_fds=fds,
                processes=len(private),
                blows=len(self.blows),
            )
        )

    def ask(self) -> str:
        """Ask for the status, as any other program can; return it in a few words."""
        try:
            with DaemonLink(find_daemon(str(self.daemon.pid))) as link:
                found = link.status(1.0, preview=False)
        except LiveDenoiseError as error:
            self.unanswered += 1
            return str(error)
        return ", ".join(f"{s.captured} captured, {s.denoised} denoised" for s in found.streams)

    def stop(self) -> int:
        """Ask it to stop, wait for its end and return its exit code.

        Raises
        ------
        SoakError
            If it does not end.
        """
        if self.alive:
            self.daemon.send_signal(signal.SIGINT)
        try:
            code = self.daemon.wait(END_S)
        except subprocess.TimeoutExpired:
            raise SoakError(f"did not end {END_S:.0f} s after Ctrl-C: {self.words()}") from None
        self.follow()
        return code

    def kill_daemon(self) -> Blow:
        """Kill the daemon and wait until none of its children is left."""
        children = self._children()
        blow = Blow(t_ns=now_ns(), kinds=("daemon",), sort="SIGKILL", pids=(self.daemon.pid,))
        self.blows.append(blow)
        self.daemon.kill()
        self.daemon.wait()
        deadline_s = time.monotonic() + CHILDREN_GONE_S
        while time.monotonic() < deadline_s:
            self.follow()
            if all(_is_gone(child) for child in children):
                blow.gone_ms = (now_ns() - blow.t_ns) * 1e-6
                break
            time.sleep(0.01)
        self.follow()
        return blow

    def clean_up(self) -> None:
        """Kill whatever is left of it. Idempotent."""
        left = self._children()
        if self.alive:
            self.daemon.kill()
            self.daemon.wait()
        for process in {*left, *self._known.values()}:
            if not _is_gone(process):
                process.kill()

    def segments(self) -> list[Path]:
        """Return the segments that bear the daemon's number."""
        return sorted(_SHM_DIR.glob(f"ldn_{self.daemon.pid}_*")) if _SHM_DIR.is_dir() else []

    def leftovers(self) -> list[str]:
        """Return segments and socket folders that bear the daemon's number."""
        folders = Path(tempfile.gettempdir()).glob(f"ldn-{self.daemon.pid}-*")
        return [str(path) for path in (*self.segments(), *folders)]

    def words(self) -> str:
        """Return the last lines the daemon said."""
        text = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")
        return " | ".join(text.splitlines()[-5:]) or "it said nothing"

    def _recording(self) -> bool:
        if self.run_dir is None:
            self.run_dir = next(iter((self.folder / "runs").glob("*/")), None)
            if self.run_dir is None:
                return False
            sidecars = {s: self.run_dir / s / CAMERA / "frames.jsonl" for s in ("raw", "clean")}
            self.tails = {stream: Tail(path) for stream, path in sidecars.items()}
        self.follow()
        return self.tails["clean"].denoised >= 5

    def _children(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.daemon.pid).children()
        except psutil.NoSuchProcess:
            return []
        return found


def _kind(process: psutil.Process) -> str:
    """Return the kind of stage whose log a process writes to, "" for none (yet)."""
    try:
        files = process.open_files()
    except psutil.Error:
        return ""
    logs = [Path(file.path) for file in files if Path(file.path).parent.name == "logs"]
    return logs[0].name.removesuffix(f".{CAMERA}.log") if logs else ""


def _is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _private_mb(process: psutil.Process) -> float | None:
    try:
        memory = process.memory_info()
    except psutil.Error:
        return None
    return float(memory.rss - getattr(memory, "shared", 0)) * 1e-6


def _allocated(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0
