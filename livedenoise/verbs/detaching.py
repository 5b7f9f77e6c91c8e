"""``--detach``: the same run as a process of its own that outlives the terminal.

Knows: how each platform lets go of a child, when the child counts as running. Must not know: what
the run does; what is wrong with a configuration (the verb checks that before it comes here).

The child has no terminal: its input is empty, its output goes to a log file, and it belongs to a
session of its own, so neither Ctrl-C nor closing the terminal reaches it.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livedenoise.core.errors import (
    EXIT_OK,
    BusError,
    ConfigError,
    LiveDenoiseError,
    RecordError,
)
from livedenoise.verbs.common import print_json

if TYPE_CHECKING:
    from livedenoise.daemon.registry import DaemonEntry

FORWARDED = ("seconds", "frames", "out", "input", "model", "engine")
"""Options of ``run`` the child is given; the others are about this terminal."""
START_TIMEOUT_S = 330.0
"""A camera may take minutes to open; the daemon's own limits are shorter."""
LOG_NAME = "detached.log"

_POLL_S = 0.05
_ASK_S = 1.0
_END_S = 15.0


def run_detached(arguments: argparse.Namespace) -> int:
    """Start the run in the background and return once it runs, or with its own exit code.

    Raises
    ------
    RecordError
        If the log cannot be written.
    LiveDenoiseError
        If it is not ready after ``START_TIMEOUT_S``; it is left alone then.
    """
    from livedenoise.daemon.registry import running_daemons

    # A run that could not be found could not be stopped either: refused before it starts.
    running_daemons()
    log = _new_log(arguments.out)
    command = [sys.executable, "-P", "-m", "livedenoise", *child_arguments(arguments)]
    process = spawn(command, log)
    try:
        entry = _await_running(process, log)
    except (KeyboardInterrupt, ConfigError):
        _end(process)
        raise
    if entry is None:
        return _report_ended(process.returncode, log, as_json=arguments.json)
    _report_running(entry, _moved(log, Path(entry.run_dir)), as_json=arguments.json)
    return EXIT_OK


def child_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the command line of the child: ``run`` with the options given here."""
    given = [(name, getattr(arguments, name)) for name in FORWARDED]
    options = [f"--{name}={value}" for name, value in given if value is not None]
    return ["run", *options, "--headless", "--json", "--", str(arguments.config)]


def spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and its terminal; ``log`` takes its output."""
    flags, new_session = 0, True
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        new_session = False
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=new_session,
            creationflags=flags,
        )


def _new_log(out: Path) -> Path:
    moment = datetime.now(UTC).astimezone()
    path = out / f"detached-{moment:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.log"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be written: {error}", "choose another folder with --out"
        ) from error
    return path


def _await_running(process: subprocess.Popen[bytes], log: Path) -> DaemonEntry | None:
    """Return the entry of the child once its cameras run, None when it ended."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None:
        entry = _entry_of(process.pid)
        if entry is not None and _runs(entry):
            return entry
        if time.monotonic() > deadline_s:
            raise LiveDenoiseError(
                f"process {process.pid} is not ready after {START_TIMEOUT_S:.0f} s; it goes on",
                f"see {log}",
            )
        time.sleep(_POLL_S)
    return None


def _entry_of(pid: int) -> DaemonEntry | None:
    """Return the entry a child left; where an environment's python starts another, of that one."""
    from livedenoise.daemon.registry import running_daemons

    return next((e for e in running_daemons() if pid in (e.pid, e.parent_pid)), None)


def _runs(entry: DaemonEntry) -> bool:
    from livedenoise.daemon.remote import PREPARING, DaemonLink

    try:
        with DaemonLink(entry) as link:
            return link.status(_ASK_S, preview=False).state != PREPARING
    except BusError:
        # It does not answer yet, or ended: the caller looks again.
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child nobody waits for any more: in order, else at once."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _moved(log: Path, run_dir: Path) -> Path:
    """Move the log to the other logs of the run; return where it is now."""
    if sys.platform == "win32":
        # A file somebody writes to cannot be renamed there.
        return log
    place = run_dir / "logs" / LOG_NAME
    try:
        place.parent.mkdir(exist_ok=True)
        return log.rename(place)
    except OSError:
        # It stays whole where it is, and that is the path that is printed.
        return log


def _report_running(entry: DaemonEntry, log: Path, *, as_json: bool) -> None:
    stop = f"livedenoise stop {entry.pid}"
    if as_json:
        known = {"pid": entry.pid, "run_id": entry.run_id, "run_dir": entry.run_dir}
        print_json({"running": True, **known, "log": str(log), "stop": stop, "exit_code": EXIT_OK})
        return
    sys.stdout.write(
        f"{entry.name} runs in the background, process {entry.pid}\n"
        f"  run folder  {entry.run_dir}\n"
        f"  log         {log}\n"
        f"  look        livedenoise dash {entry.pid}\n"
        f"  stop        {stop}\n"
    )


def _report_ended(exit_code: int, log: Path, *, as_json: bool) -> int:
    """Say how a run ended that was over before it could be left; return its exit code."""
    found, said = _last_words(log)
    if found is not None and found.get("run_dir"):
        log = _moved(log, Path(found["run_dir"]))
    sys.stderr.write(said)
    if as_json:
        print_json({"exit_code": exit_code, **(found or {}), "running": False, "log": str(log)})
    elif found is not None and "captured" in found:
        from livedenoise.verbs.status_text import summary_line

        sys.stdout.write(f"it has ended already: {summary_line(found)}\n")
    else:
        sys.stderr.write(f"livedenoise: it ended with exit code {exit_code}; its log: {log}\n")
    return exit_code


def _last_words(log: Path) -> tuple[dict[str, Any] | None, str]:
    """Return the object the child printed, and what else it said."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            return found, "".join(lines[:number] + lines[number + 1 :])
    return None, "".join(lines)
