"""Control of a running daemon from outside: both ends of "status" and "stop".

Knows: the two questions, the snapshot on the wire, the registry. Must not know: how a snapshot is
made, how a run is stopped (the daemon hands both in), how anything is shown.

The daemon's loop calls ``Remote.serve`` each round. It never waits, looks at a bounded number of
questions, and makes at most one snapshot in ``FRESH_NS`` however many ask: no viewer, present or
vanished, slows a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.context import Context
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.remote import RemoteClient, RemoteServer, ReplyTo
from livedenoise.core.clock import Clock, MonotonicClock
from livedenoise.core.closing import Closing
from livedenoise.core.errors import BusError, ConfigError, WireError
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.registry import (
    DaemonEntry,
    is_registered,
    new_token,
    register_daemon,
    this_daemon,
)

FRESH_NS = 100_000_000
"""Age up to which a snapshot answers again."""
PREPARING = "preparing"
"""State of a run until its cameras are started."""

Snapshot = Callable[[], StatusSnapshot]
RequestStop = Callable[[bool], None]


class _StatusArguments(msgspec.Struct, forbid_unknown_fields=True):
    preview: bool = True


class _StopArguments(msgspec.Struct, forbid_unknown_fields=True):
    abort: bool = False


class Remote:
    """The daemon's end; made by ``open_remote``.

    Attributes
    ----------
    note : str
        Why the run cannot be found from outside; empty when it can.
    """

    def __init__(
        self, server: RemoteServer, entry: DaemonEntry, clock: Clock | None = None
    ) -> None:
        self.entry = entry
        self.note = ""
        self._server = server
        self._clock = clock or MonotonicClock()
        self._made_ns = -FRESH_NS
        self._latest: StatusSnapshot | None = None

    @property
    def refused(self) -> int:
        """Return how many messages got no answer: malformed, too large, wrong token."""
        return self._server.refused

    def serve(self, snapshot: Snapshot, request_stop: RequestStop) -> None:
        """Answer what waits; a few microseconds when nothing does.

        Parameters
        ----------
        snapshot : callable
            Returns the state of the run now.
        request_stop : callable
            Called with True to abort, False to drain; draining twice must not abort.
        """
        for reply_to, ask in self._server.poll():
            self._answer(reply_to, ask, snapshot, request_stop)

    def _answer(
        self, reply_to: ReplyTo, ask: wire.Ask, snapshot: Snapshot, request_stop: RequestStop
    ) -> None:
        try:
            match ask.verb:
                case "status":
                    status = msgspec.convert(ask.arguments, _StatusArguments)
                    self._tell_status(reply_to, self._fresh(snapshot), preview=status.preview)
                case "stop":
                    stop = msgspec.convert(ask.arguments, _StopArguments)
                    request_stop(stop.abort)
                    self._server.answer(reply_to, wire.Answer())
                case _:
                    self._refuse(reply_to, f"unknown question {ask.verb!r}: status or stop")
        except msgspec.ValidationError as error:
            self._refuse(reply_to, f"{ask.verb}: {error}")

    def _tell_status(self, reply_to: ReplyTo, found: StatusSnapshot, *, preview: bool) -> None:
        """Answer with the snapshot; many cameras' large pictures are left out, never its facts."""
        try:
            data = snapshot_to_wire(found if preview else without_previews(found))
            self._server.answer(reply_to, wire.Answer(data=data))
        except WireError as error:
            if preview:
                self._tell_status(reply_to, found, preview=False)
            else:
                self._refuse(reply_to, f"status: {error}")

    def _refuse(self, reply_to: ReplyTo, why: str) -> None:
        self._server.answer(reply_to, wire.Answer(error=why))

    def _fresh(self, snapshot: Snapshot) -> StatusSnapshot:
        now_ns = self._clock.now_ns()
        if self._latest is None or now_ns - self._made_ns >= FRESH_NS:
            self._latest, self._made_ns = snapshot(), now_ns
        return self._latest


@contextmanager
def open_remote(
    context: Context, endpoints: Endpoints, *, run_id: str, name: str, run_dir: Path
) -> Iterator[Remote]:
    """Listen and be found while the context lasts.

    A run that cannot be registered goes on all the same: ``Remote.note`` says why, for the notes
    of its summary.
    """
    token = new_token()
    with ExitStack() as stack:
        server = RemoteServer(context, endpoints.bind_to("remote"), token)
        stack.callback(server.close)
        entry = this_daemon(
            run_id=run_id, name=name, run_dir=run_dir, endpoint=server.endpoint, token=token
        )
        remote = Remote(server, entry)
        try:
            stack.enter_context(register_daemon(entry))
        except ConfigError as error:
            remote.note = f"status, stop and dash cannot find this run: {error}"
        yield remote


class DaemonLink(Closing):
    """The end of whoever asks a registered daemon; a context manager."""

    def __init__(self, entry: DaemonEntry) -> None:
        self.entry = entry
        self._client = RemoteClient(entry.endpoint, entry.token)

    def status(self, timeout_s: float = 3.0, *, preview: bool = True) -> StatusSnapshot:
        """Return the state of the run.

        Raises
        ------
        BusError
            If it does not answer in time, or not with a status.
        """
        return snapshot_from_wire(self._ask("status", timeout_s, preview=preview))

    def stop(self, timeout_s: float = 3.0, *, abort: bool = False) -> None:
        """Ask it to stop; it drains first unless ``abort``.

        Raises
        ------
        BusError
            If it does not answer in time.
        """
        self._ask("stop", timeout_s, abort=abort)

    def is_running(self) -> bool:
        """Return whether the run is still registered and its process lives."""
        return is_registered(self.entry)

    def close(self) -> None:
        """Close. Idempotent."""
        self._client.close()

    def _ask(self, verb: str, timeout_s: float, **arguments: bool) -> dict[str, Any]:
        answer = self._client.ask(verb, arguments, timeout_s)
        if answer.error:
            raise BusError(f"daemon {self.entry.name} (process {self.entry.pid}): {answer.error}")
        return answer.data


def snapshot_to_wire(snapshot: StatusSnapshot) -> dict[str, Any]:
    """Return a snapshot as plain data; pictures stay bytes."""
    data: dict[str, Any] = msgspec.to_builtins(snapshot, builtin_types=(bytes,))
    return data


def snapshot_from_wire(data: dict[str, Any]) -> StatusSnapshot:
    """Return the snapshot in an answer.

    Raises
    ------
    BusError
        If it is not one: the daemon is of another version.
    """
    try:
        return msgspec.convert(data, StatusSnapshot)
    except msgspec.ValidationError as error:
        raise BusError(
            f"the answer is not a status: {error}",
            "use the same version of livedenoise as the daemon",
        ) from error


def without_previews(snapshot: StatusSnapshot) -> StatusSnapshot:
    """Return the snapshot without its pictures."""
    streams = tuple(msgspec.structs.replace(s, preview=None) for s in snapshot.streams)
    return msgspec.structs.replace(snapshot, streams=streams)
