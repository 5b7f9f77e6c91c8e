"""The test's side: start a server, order it about, and leave nothing behind.

Knows: the side channel, and what pyjavaz keeps in this process. Must not know: what is tested.

pyjavaz has no way to let go of a server that does not answer: its threads wait for ever, and the
shadows' destructors too. ``PrivateSockets`` gives it a ZeroMQ context of its own for one test,
which can then be taken away under it; nothing else of it is changed.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pyjavaz.bridge
import pyjavaz.wrappers
import zmq
from pyjavaz.bridge import Bridge

_FOLDER = Path(__file__).resolve().parents[1]
_READY_S = 30.0
_ORDER_S = 15.0
_END_S = 5.0
_LAST_WORDS_MS = 2000


class BridgeProcess:
    """A running server.

    Parameters
    ----------
    port : int
        0 for a free one from 20000 on.
    configuration : str
        A file, or the name of one that comes with the demo adapters.
    buffer_mb : int
        The core's sequence buffer.

    Attributes
    ----------
    port, pid : int
    """

    def __init__(
        self, port: int = 0, configuration: str = "MMConfig_demo.cfg", buffer_mb: int = 64
    ) -> None:
        command = [sys.executable, "-m", "bridge", "--port", str(port)]
        command += ["--configuration", configuration, "--buffer-mb", str(buffer_mb)]
        path = os.pathsep.join([str(_FOLDER), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        self.pid = self._process.pid
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.port: int = self._answer(_READY_S)["port"]
        except BaseException:
            self.kill()
            raise

    def order(self, order: str, **details: Any) -> Any:
        """Give an order of ``control.Control`` and return its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"order": order, **details}) + "\n")
        self._process.stdin.flush()
        answer = self._answer(_ORDER_S)
        if "error" in answer:
            raise AssertionError(f"the bridge could not {order}: {answer['error']}")
        return answer["result"]

    def fault(self, action: str, call: str = "*", **rule: Any) -> None:
        """Order a misbehaviour: see ``faults.Rule``."""
        self.order("fault", action=action, call=call, **rule)

    def user(self, call: str, *args: Any) -> Any:
        """Call the core directly, as a user at the microscope does."""
        return self.order("user", call=call, args=list(args))

    def state(self) -> dict[str, Any]:
        """Return what ``control.Control.state`` says."""
        state: dict[str, Any] = self.order("state")
        return state

    def traffic(self) -> dict[str, Any]:
        """Return ``objects``, ``calls`` and ``hanging`` of the state, without asking a device."""
        traffic: dict[str, Any] = self.order("traffic")
        return traffic

    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def wait_dead(self, timeout_s: float = 5.0) -> int:
        """Wait for a death that was ordered and return the exit code."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Kill the process, as by SIGKILL; idempotent. pyjavaz is not told: see ``bury``."""
        self._process.kill()
        self._process.wait(_END_S)
        self._reader.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                _close(pipe)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        line = self._answers.get(timeout=timeout_s)
        if not line:
            self._answers.put("")
            raise AssertionError(f"the bridge is dead, exit code {self._process.wait(_END_S)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except BrokenPipeError:
        return  # an order that the dead server never read


class _LentContext(zmq.Context[Any]):
    """Keeps hold of its sockets: pyjavaz leaves its own to the garbage collector, which warns."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["lent"] = []

    def socket(self, *args: Any, **options: Any) -> Any:
        made = super().socket(*args, **options)
        # pyjavaz closes a socket right after its last message ("finished"): it must still arrive.
        # A question nobody will answer need not.
        made.linger = _LAST_WORDS_MS if made.type == zmq.PUSH else 0
        self.__dict__["lent"].append(made)
        return made


class PrivateSockets:
    """Lends pyjavaz a ZeroMQ context, and takes it back with everything that hangs on it."""

    def __init__(self) -> None:
        self.context = _LentContext()
        self._modules = (pyjavaz.bridge, pyjavaz.wrappers)
        seen = types.ModuleType("zmq")
        seen.__dict__.update(zmq.__dict__)
        seen.__dict__["Context"] = types.SimpleNamespace(instance=lambda: self.context)
        for module in self._modules:
            module.zmq = seen

    def close(self) -> None:
        """Forget every shadow and bridge of this process, end their threads and sockets."""
        bury()
        for module in self._modules:
            module.zmq = zmq
        ending = threading.Thread(target=self.context.term, daemon=True)
        ending.start()  # whoever waits for an answer that never comes is woken by this
        for bridge in _bridges():
            bridge.close()
        Bridge._cached_bridges_by_port.clear()
        for socket in self.context.__dict__["lent"]:
            socket.close(0)
        ending.join(_END_S)
        assert not ending.is_alive(), "a socket of pyjavaz is still open"


def bury() -> None:
    """Tell every shadow of this process that its server is dead: no destructor will be sent.

    A test that lets a server die and still holds shadows calls it before it drops them; otherwise
    pyjavaz waits for ever for the answer of the destructor.
    """
    for bridge in _bridges():
        for shadow in list(bridge._java_objects):
            shadow._closed = True
            bridge._java_objects.discard(shadow)


def _bridges() -> list[Any]:
    references = list(Bridge._cached_bridges_by_port.values())
    return [bridge for bridge in (reference() for reference in references) if bridge is not None]
