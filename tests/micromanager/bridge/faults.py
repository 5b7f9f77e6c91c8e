"""What the server does wrong, and when: rules that a test orders. Pure but for waiting.

Knows: rules by the name of a call or command. Must not know: sockets, the core.

A rule is looked up once before a call is executed and once after it; ``hang`` waits until it is
released, on the thread that serves the port, so that this port answers nothing more.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bridge.java import JavaError

ACTIONS = ("hang", "die", "throw", "delay")
EXIT_CODE = 86
VERSION = "5.1.0"


class Call(NamedTuple):
    """A request: its command and the method or field it names, and its arguments."""

    names: tuple[str, ...]
    arguments: list[Any]


@dataclass
class Rule:
    """One misbehaviour.

    Attributes
    ----------
    action : str
        One of ``ACTIONS``.
    call : str
        Java name of a method, a command of the protocol (``connect``, ``constructor``,
        ``get-field``, ...), or ``*`` for all of them.
    argument : Any
        Only calls that have this among their arguments; None for all.
    skip : int
        How many matching calls are served well first.
    times : int
        How often it happens; -1 for always.
    after : bool
        Whether the call is executed first: done, but never answered.
    delay_ms, message
        Of ``delay`` and ``throw``.
    """

    action: str
    call: str = "*"
    argument: Any = None
    skip: int = 0
    times: int = 1
    after: bool = False
    delay_ms: float = 0.0
    message: str = "thrown on order"

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"action {self.action!r}, possible are {ACTIONS}")

    def due(self, call: Call, *, after: bool) -> bool:
        """Tell whether it happens now, and count."""
        if after != self.after or self.times == 0 or self.call not in {"*", *call.names}:
            return False
        if self.argument is not None and self.argument not in call.arguments:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= self.times > 0
        return True


@dataclass
class Faults:
    """The rules in force, and what was called; used by every serving thread."""

    rules: list[Rule] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Any] = field(default_factory=dict)
    hanging: int = 0
    version: str = VERSION
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _released: threading.Event = field(default_factory=threading.Event)

    def add(self, **rule: Any) -> None:
        """Order a misbehaviour."""
        with self._lock:
            self._released.clear()
            self.rules.append(Rule(**rule))

    def release(self) -> None:
        """Behave again: forget every rule, answer what was held back."""
        with self._lock:
            self.answers.clear()
            self.rules.clear()
            self._released.set()

    def forget(self) -> None:
        """Forget what was called, say the right version again."""
        with self._lock:
            self.calls.clear()
            self.version = VERSION

    def before(self, call: Call) -> None:
        """Do what is due before a call is executed."""
        with self._lock:
            self.calls.update(call.names)
        self._apply(call, after=False)

    def after(self, call: Call) -> None:
        """Do what is due when a call was executed and not yet answered."""
        self._apply(call, after=True)

    def _apply(self, call: Call, *, after: bool) -> None:
        with self._lock:
            due = [rule for rule in self.rules if rule.due(call, after=after)]
        for rule in due:
            self._do(rule)

    def _do(self, rule: Rule) -> None:
        if rule.action == "die":
            os._exit(EXIT_CODE)
        if rule.action == "throw":
            raise JavaError(rule.message)
        if rule.action == "delay":
            time.sleep(rule.delay_ms / 1e3)
        if rule.action == "hang":
            self._hang()

    def _hang(self) -> None:
        with self._lock:
            self.hanging += 1
        self._released.wait()
        with self._lock:
            self.hanging -= 1
