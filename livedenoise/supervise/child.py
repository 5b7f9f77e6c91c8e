"""Entry of every stage process: ``python -m livedenoise.supervise.child``.

The first line on stdin is a ChildSpec as JSON; the rest of stdin stays open for as long as the
parent lives, so that its end means the parent died. Ctrl-C in a terminal, and the end of the
terminal, reach every process: a stage ignores both and takes its orders from the daemon.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.control import ControlLink
from livedenoise.core import log
from livedenoise.core.errors import EXIT_ABORTED, EXIT_INTERNAL, EXIT_OK, LiveDenoiseError
from livedenoise.supervise.stage import Stage, run_stage

_ORPHAN_GRACE_S = 1.0
"""Time an orphan has to finalise before it is ended."""


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage process is told at birth.

    Attributes
    ----------
    entry : str
        ``module:class`` inside livedenoise, called with ``settings``.
    """

    stage: str
    entry: str
    endpoint: str
    identity: str
    report_ms: int
    settings: dict[str, Any]


def main() -> int:
    """Run one stage and return the process's exit code."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    spec = msgspec.json.decode(sys.stdin.buffer.readline(), type=ChildSpec)
    log.configure(spec.stage)
    stage = _resolve(spec.entry)(spec.settings)
    link = ControlLink(
        spec.endpoint,
        spec.identity,
        report_ms=spec.report_ms,
        on_stop=lambda drain: stage.request_stop(drain=drain),
    )
    _end_with_parent(stage)
    try:
        return _run(stage, link, spec)
    finally:
        link.close()


def _run(stage: Stage, link: ControlLink, spec: ChildSpec) -> int:
    try:
        run_stage(stage, link, spec.report_ms * 1_000_000)
    except LiveDenoiseError as error:
        sys.stderr.write(f"{spec.stage}: {error}\n")
        _report(stage, link, error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  (the last frame of a process: reported, never lost)
        traceback.print_exc()
        text = f"{spec.stage}: {type(error).__name__}: {error}"
        _report(stage, link, LiveDenoiseError(text, "see the stage's log in the run folder"))
        return EXIT_INTERNAL
    finally:
        stage.close()
    return EXIT_OK


def _report(stage: Stage, link: ControlLink, error: LiveDenoiseError) -> None:
    """Close the stage, so that its files are finalised, and say what it had done."""
    message = error.message
    try:
        stage.close()
    except LiveDenoiseError as left:
        # What went wrong first is what is told first; this may be no more than its consequence.
        message = f"{message}; at its end: {left.message}"
    failed = wire.Failed(
        message=message,
        hint=error.hint,
        exit_code=error.exit_code,
        metrics=stage.metrics(),
        facts=stage.facts(),
    )
    link.send(failed)


def _resolve(entry: str) -> Callable[[dict[str, Any]], Stage]:
    module, _, name = entry.partition(":")
    if not module.startswith("livedenoise."):
        raise ValueError(f"{entry}: stages are classes of livedenoise")
    factory: Callable[[dict[str, Any]], Stage] = getattr(importlib.import_module(module), name)
    return factory


def _end_with_parent(stage: Stage) -> None:
    def watch() -> None:
        # Not through sys.stdin: its lock would be held by this thread when the interpreter ends.
        while os.read(0, 4096):
            pass
        stage.request_stop(drain=False)
        # The process usually ends by itself before this; a hung loop does not.
        threading.Event().wait(_ORPHAN_GRACE_S)
        os._exit(EXIT_ABORTED)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
