"""``status``, ``stop`` and ``dash``: a daemon that runs already, seen and stopped from outside.

Knows: how to ask and what to print. Must not know: how a run works. Leaving any of these verbs,
in whatever way, leaves the run as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livedenoise.core.errors import (
    EXIT_ABORTED,
    EXIT_INTERNAL,
    EXIT_OK,
    BusError,
    ConfigError,
    DataLossError,
)
from livedenoise.verbs.common import Verbs, positive, print_json
from livedenoise.verbs.screen import Screen

if TYPE_CHECKING:
    from livedenoise.core.status import StatusSnapshot
    from livedenoise.daemon.registry import DaemonEntry
    from livedenoise.daemon.remote import DaemonLink

DASH_HZ = 5.0
_ASK_S = 3.0
_ASK_SLICE_S = 0.5
_DASH_ASK_S = 1.0
_KEY_POLL_S = 0.03
_DRAIN_POLL_S = 0.1
_TELL_S = 1.0
_SUMMARY_S = 10.0

Tell = Callable[[str], None]


def status(arguments: argparse.Namespace) -> int:
    """``livedenoise status [RUN]``: what runs, in a few lines or as one JSON object."""
    from livedenoise.bus.endpoints import remove_stale_endpoints
    from livedenoise.bus.segment import remove_stale
    from livedenoise.daemon.registry import find_daemon, running_daemons

    # What a killed daemon left.
    remove_stale()
    remove_stale_endpoints()
    entries = running_daemons() if arguments.run is None else [find_daemon(arguments.run)]
    found, errors = [], []
    for entry in entries:
        snapshot, error = _asked(entry, preview=arguments.preview and arguments.json)
        if snapshot is not None or error:
            # Without both it has ended meanwhile.
            found.append((entry, snapshot))
        errors += [error] if error else []
    code = EXIT_INTERNAL if errors else EXIT_OK
    for error in errors:
        sys.stderr.write(f"livedenoise: {error}\n")
    if arguments.json:
        running = [_as_json(entry, snapshot) for entry, snapshot in found]
        print_json({"running": running, "exit_code": code, "errors": errors})
    else:
        _print_status([s for _, s in found if s is not None], everything=arguments.all)
        if not entries:
            sys.stdout.write("no livedenoise daemon is running\n")
    return code


def stop(arguments: argparse.Namespace) -> int:
    """``livedenoise stop [RUN]``: ask it to drain (or abort) and wait until it is gone."""
    from livedenoise.daemon.registry import find_daemon
    from livedenoise.daemon.remote import DaemonLink

    entry = find_daemon(arguments.run)
    with DaemonLink(entry) as link:
        try:
            _request_stop(link, abort=arguments.abort)
            _await_end(link, arguments.timeout, _tell_on_stderr)
            summary = _summary_of(entry)
        except KeyboardInterrupt:
            _tell_on_stderr(
                f"left; process {entry.pid} goes on draining. At once: "
                f"livedenoise stop {entry.pid} --abort"
            )
            return EXIT_ABORTED
    _report_end(entry, summary, as_json=arguments.json)
    return EXIT_OK


def dash(arguments: argparse.Namespace) -> int:
    """``livedenoise dash [RUN]``: one more dashboard; q or Ctrl-C leaves it, the run goes on."""
    from livedenoise.daemon.registry import find_daemon
    from livedenoise.daemon.remote import DaemonLink

    entry = find_daemon(arguments.run)
    if not sys.stdout.isatty():
        raise ConfigError("dash needs a terminal", "use livedenoise status, or status --json")
    with DaemonLink(entry) as link:
        try:
            ended = _draw(link)
        except KeyboardInterrupt:
            ended = False
    if not ended:
        sys.stdout.write(f"left; {entry.name} (process {entry.pid}) goes on\n")
        return EXIT_OK
    sys.stdout.write(f"{entry.name} (process {entry.pid}) ended\n")
    _report_end(entry, _summary_of(entry), as_json=False)
    return EXIT_OK


def follow(
    link: DaemonLink, show: Callable[[StatusSnapshot], None], left: Callable[[float], bool]
) -> bool:
    """Show a daemon's state until it ends (True) or whoever looks leaves (False).

    Parameters
    ----------
    left : callable
        Waits so many seconds for whoever looks to leave; returns whether that happened.
    """
    import msgspec

    latest: StatusSnapshot | None = None
    next_s = time.monotonic()
    while True:
        try:
            latest = link.status(_DASH_ASK_S)
            show(latest)
        except BusError as error:
            if not link.is_running():
                return True
            if latest is not None:
                alerts = (*latest.alerts, f"not answering: {error.message}")
                show(msgspec.structs.replace(latest, alerts=alerts))
        # A slow answer is not made up for: the screen is read by eye.
        next_s = max(next_s + 1 / DASH_HZ, time.monotonic())
        if left(next_s - time.monotonic()):
            return False


def _draw(link: DaemonLink) -> bool:
    from rich.console import Console

    from livedenoise.view.dashboard import Dashboard
    from livedenoise.view.keys import Keys

    with Keys() as keys, Screen(Dashboard(Console(), quit_key=True)) as screen:
        return follow(link, screen.show, lambda timeout_s: _left(screen, keys.poll, timeout_s))


def _left(screen: Screen, poll: Callable[[], str], timeout_s: float) -> bool:
    """Follow the keys for so long; return whether q was one, or the terminal went away."""
    until_s = time.monotonic() + timeout_s
    while not screen.lost:
        for key in poll():
            if key in "qQ":
                return True
            screen.press(key)
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            return False
        time.sleep(min(_KEY_POLL_S, left_s))
    return True


def _asked(entry: DaemonEntry, *, preview: bool) -> tuple[StatusSnapshot | None, str]:
    """Return a daemon's state, or why there is none."""
    import msgspec

    from livedenoise.daemon.registry import is_registered
    from livedenoise.daemon.remote import DaemonLink

    deadline_s = time.monotonic() + _ASK_S
    with DaemonLink(entry) as link:
        while True:
            try:
                found = link.status(_ASK_SLICE_S, preview=preview)
                break
            except BusError as error:
                if not is_registered(entry):
                    # It ended between being found and being asked: it does not hang.
                    return None, ""
                if time.monotonic() > deadline_s:
                    return None, f"{entry.name} (process {entry.pid}): {error}"
    known = {"run_id": found.run_id or entry.run_id, "pid": found.pid or entry.pid}
    return msgspec.structs.replace(found, **known), ""


def _as_json(entry: DaemonEntry, snapshot: StatusSnapshot | None) -> dict[str, Any]:
    import msgspec

    common = {"started": entry.started, "version": entry.version}
    if snapshot is not None:
        return {**msgspec.to_builtins(snapshot), **common}
    known = {"name": entry.name, "run_id": entry.run_id, "run_dir": entry.run_dir}
    return {"state": "silent", "pid": entry.pid, **known, **common}


def _print_status(snapshots: list[StatusSnapshot], *, everything: bool) -> None:
    from livedenoise.verbs.status_text import status_lines

    for snapshot in snapshots:
        sys.stdout.write("\n".join(status_lines(snapshot, everything=everything)) + "\n")


def _request_stop(link: DaemonLink, *, abort: bool) -> None:
    try:
        link.stop(_ASK_S, abort=abort)
    except BusError:
        # It may have ended by itself in this moment; then there is nothing to complain about.
        if link.is_running():
            raise


def _await_end(link: DaemonLink, timeout_s: float | None, tell: Tell) -> None:
    """Wait until the daemon is gone and say what it still does, once a second when it changes."""
    from livedenoise.verbs.status_text import draining_line

    start_s = told_s = time.monotonic()
    told = ""
    while link.is_running():
        now_s = time.monotonic()
        if timeout_s is not None and now_s - start_s > timeout_s:
            raise BusError(
                f"{link.entry.name} (process {link.entry.pid}) still drains after {timeout_s:g} s",
                f"it goes on; at once: livedenoise stop {link.entry.pid} --abort",
            )
        if now_s - told_s >= _TELL_S:
            told_s = now_s
            snapshot, _ = _asked(link.entry, preview=False)
            line = told if snapshot is None else draining_line(snapshot)
            if line != told:
                tell(line)
            told = line
        time.sleep(_DRAIN_POLL_S)


def _tell_on_stderr(line: str) -> None:
    sys.stderr.write(f"livedenoise: {line}\n")
    sys.stderr.flush()


def _summary_of(entry: DaemonEntry) -> dict[str, Any]:
    """Return the summary of a run that just ended: its process writes it last.

    Raises
    ------
    DataLossError
        If its process ended without one.
    """
    from livedenoise.core.process_life import same_process
    from livedenoise.record.run_folder import open_run

    deadline_s = time.monotonic() + _SUMMARY_S
    while True:
        # Asked before the file is looked for: what it wrote last is then there to be found.
        alive = same_process(entry.pid, entry.born)
        summary = open_run(Path(entry.run_dir)).summary
        if summary is not None:
            return summary
        if not alive or time.monotonic() > deadline_s:
            raise DataLossError(
                f"{entry.run_dir}: the daemon ended without a summary",
                f"livedenoise recover {entry.run_dir}",
            )
        time.sleep(_DRAIN_POLL_S)


def _report_end(entry: DaemonEntry, summary: dict[str, Any], *, as_json: bool) -> None:
    from livedenoise.verbs.status_text import summary_line

    for error in summary["errors"]:
        _tell_on_stderr(error)
    if as_json:
        known = {"pid": entry.pid, "run_id": entry.run_id, "run_dir": entry.run_dir}
        print_json({"stopped": True, **known, "exit_code": EXIT_OK, "summary": summary})
    else:
        sys.stdout.write(summary_line({**summary, "run_dir": entry.run_dir}) + "\n")


def register(verbs: Verbs) -> None:
    """Add ``status``, ``stop`` and ``dash``."""
    _add_status(verbs.add_parser("status", help="what runs on this machine, and how it fares"))
    _add_stop(verbs.add_parser("stop", help="end a run in order, from outside"))
    parser = verbs.add_parser("dash", help="attach one more dashboard to a run")
    _add_run(parser)
    parser.set_defaults(verb=dash)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        nargs="?",
        metavar="RUN",
        help="process number, run folder (or its last part), run id or name; "
        "not needed when one runs",
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    add = parser.add_argument
    add("--all", action="store_true", help="every stage, error and note too")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    add("--preview", action="store_true", help="with --json: the small pictures too, as base64")
    parser.set_defaults(verb=status)


def _add_stop(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    add = parser.add_argument
    add("--abort", action="store_true", help="do not wait for frames under way; files are whole")
    add("--timeout", type=positive(float), metavar="S", help="stop waiting after S seconds")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=stop)
