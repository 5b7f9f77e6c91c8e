"""Replacing stage processes: what is done when, without ever waiting.

A successor needs what its predecessor had, and what it reads from must be there: so its orders are
steps, each taken once its condition holds. The daemon's loop calls ``follow`` every round; nothing
here blocks it while another stage may need it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from livedenoise.bus import wire
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import LiveDenoiseError
from livedenoise.daemon.line import Line
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.daemon.summary import Incident

_UPSTREAM = {
    "acquire": (),
    "record": ("acquire",),
    "denoise": ("acquire",),
    "record-clean": ("denoise",),
    "view": ("acquire", "denoise"),
}


class _Step(msgspec.Struct, frozen=True):
    handle: StageHandle
    when: Callable[[], bool]
    do: Callable[[], None]


class Replacements:
    """Successors on their way to work."""

    def __init__(self, stages: Stages, on_error: Callable[[LiveDenoiseError], None]) -> None:
        self._stages = stages
        self._on_error = on_error
        self._steps: list[_Step] = []

    @property
    def under_way(self) -> bool:
        """Return whether any successor is not at work yet."""
        return bool(self._steps)

    def replace(self, line: Line, dead: StageHandle, n_frames: int | None, what: Incident) -> None:
        """Spawn a successor and plan its orders; ``what`` learns when it is ready."""
        # It has said its last word: nothing is waited for, whatever holds it.
        dead.process.kill()
        self._stages.end(dead)
        died_ns = now_ns()
        kind = dead.kind
        heir = line.spawn(kind, n_frames)

        def configure() -> None:
            if kind == "acquire":
                line.learn_facts()
            line.configure(kind, successor=True)

        def begin() -> None:
            what.ready_after_s = (now_ns() - died_ns) * 1e-9
            line.take_address(kind)
            if kind in ("acquire", "denoise"):
                line.announce(kind)
            self._stages.send(heir, wire.Start())

        self._steps += [
            _Step(
                heir, lambda: heir.info is not None and self._upstream_runs(line, kind), configure
            ),
            _Step(heir, lambda: heir.ready is not None, begin),
        ]

    def follow(self) -> None:
        """Take the steps whose time has come; those of a successor that died are dropped."""
        waiting: list[_Step] = []
        blocked: set[int] = set()
        for step in self._steps:
            current = self._stages.handles.get(step.handle.name) is step.handle
            if step.handle.over or not current:
                continue
            if id(step.handle) in blocked or not step.when():
                blocked.add(id(step.handle))
                waiting.append(step)
                continue
            self._take(step)
        self._steps = waiting

    def _take(self, step: _Step) -> None:
        try:
            step.do()
        except LiveDenoiseError as error:
            # Not memory enough for another ring, another camera than before: it cannot go on.
            self._on_error(error)
            step.handle.hopeless = True
            step.handle.process.kill()

    def _upstream_runs(self, line: Line, kind: str) -> bool:
        """Return whether all a stage reads from is there to attach to (or never will be).

        A successor that is ready has not told its address before its last step was taken.
        """
        for name in _UPSTREAM[kind]:
            handle = line.get(name)
            if handle is None or handle.over:
                continue
            if handle.state != "running" or any(step.handle is handle for step in self._steps):
                return False
        return True
