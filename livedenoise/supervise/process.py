"""One child process: spawned fresh (never forked), tied to its parent, ended in three steps.

A fresh interpreter is the same on every platform and safe with CUDA. Stdin is the tie: the child
ends when it closes. Stdout and stderr go to a log file, so that a stage never writes on the screen.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from livedenoise.bus.copying import copying_environment
from livedenoise.core.errors import EXIT_INTERNAL, StageError
from livedenoise.supervise.child import ChildSpec

_TERMINATE_S = 2.0
_LOG_TAIL_BYTES = 16_384


class StageProcess:
    """A running stage process.

    Parameters
    ----------
    spec : ChildSpec
        What the child is told.
    log_path : Path
        File its output is appended to.

    Raises
    ------
    StageError
        If the system starts no process, or it is gone before it was told what to do.
    """

    def __init__(self, spec: ChildSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        try:
            self._popen = self._start()
            if self._popen.stdin is None:
                raise RuntimeError("the child has no stdin")
            self._stdin = self._popen.stdin
            self._stdin.write(msgspec.json.encode(spec) + b"\n")
            self._stdin.flush()
        except OSError as error:
            self._abandon()
            raise StageError(
                f"stage {spec.stage}: its process cannot be started: {error}", EXIT_INTERNAL
            ) from error

    def _abandon(self) -> None:
        """End a process that could not be told what to do."""
        popen = getattr(self, "_popen", None)
        if popen is None:
            return
        popen.kill()
        popen.wait()
        with suppress(OSError):
            # What is still buffered for it has nobody to go to.
            popen.stdin.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "livedenoise.supervise.child"],
                env=copying_environment(os.environ),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs (negative: ended by that signal)."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end and return the exit code, None when it still runs."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it at once: for a stage that hangs."""
        self._popen.kill()

    def end(self) -> int:
        """Close the tie, then terminate, then kill; return the exit code. Idempotent."""
        # Nothing is buffered since the flush at birth, so closing cannot meet a broken pipe.
        self._stdin.close()
        for step in (None, self._popen.terminate, self._popen.kill):
            if step is not None:
                step()
            code = self.wait(_TERMINATE_S)
            if code is not None:
                return code
        return self._popen.wait()

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines the child wrote."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, self.log_path.stat().st_size - _LOG_TAIL_BYTES))
                text = log.read().decode("utf-8", "replace")
        except OSError as error:
            return f"(it cannot be read: {error})"
        return "\n".join(text.splitlines()[-lines:])
