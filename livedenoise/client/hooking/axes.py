"""What the user's own events say about an image, found by its axes. Pure.

Knows: pycromanager's events (dicts with ``axes`` and perhaps ``exposure``, milliseconds), options
that depend on axes. Must not know: pixels, connections.

The exposure is the COMMANDED one: from the option, else from the event, else 0 for "not known".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, TypeAlias

import msgspec

from livedenoise.core.errors import BusError

Axes: TypeAlias = Mapping[str, Any]
ByAxes: TypeAlias = Any
"""A value, a mapping from the image's axis ``channel`` to values, or a function of its axes."""

MAX_EVENTS = 1_000_000
"""Events remembered: when there are more, the oldest are forgotten."""

_CAMERA = "camera"


class AxesFacts(msgspec.Struct, frozen=True):
    """Facts for a frame's header."""

    event: int = -1
    exposure_us: int = 0
    role: str = ""
    channel: int = 0


class Lookup:
    """Finds the facts of an image by its axes.

    Parameters
    ----------
    exposure_ms, role, channel : ByAxes
        Options of ``livedenoise.hook``.

    Attributes
    ----------
    unknown : int
        Images whose axes were in none of the events.
    """

    def __init__(self, exposure_ms: ByAxes, role: ByAxes, channel: ByAxes) -> None:
        self._exposure_ms, self._role, self._channel = exposure_ms, role, channel
        self._events: dict[Hashable, tuple[int, float]] = {}
        self._next = 0
        self._names: dict[str, int] = {}
        self.unknown = 0

    def expect(self, events: object) -> None:
        """Remember events, numbered on after those of earlier calls.

        Raises
        ------
        BusError
            If they are not a list of pycromanager's events.
        """
        for event in _as_list(events):
            axes = event["axes"]
            self._events[_key(axes)] = self._next, float(event.get("exposure") or 0.0)
            self._next += 1
            self._number_channel(axes.get("channel"))
        while len(self._events) > MAX_EVENTS:
            del self._events[next(iter(self._events))]

    def __call__(self, axes: Axes) -> AxesFacts:
        """Return what is known about the image of these axes."""
        return self.begin(axes)()

    def begin(self, axes: Axes) -> Callable[[], AxesFacts]:
        """Look an image's event up now, and return what tells all about the image, for later.

        The same axes may mean another event once more are expected. The user's own functions may
        be slow or fail: they are called later.
        """
        event, exposure_ms = self._event(axes)
        number = None if self._channel is not None else self._number_channel(axes.get("channel"))
        return partial(self._facts, axes, event, exposure_ms, number)

    def _facts(self, axes: Axes, event: int, exposure_ms: float, number: int | None) -> AxesFacts:
        if self._exposure_ms is not None:
            exposure_ms = float(_by_axes(self._exposure_ms, axes, 0.0))
        channel = _by_axes(self._channel, axes, None)
        if channel is None:
            channel = number if number is not None else self._number_channel(axes.get("channel"))
        return AxesFacts(
            event=event,
            exposure_us=round(exposure_ms * 1e3),
            role=str(_by_axes(self._role, axes, "") or ""),
            channel=int(channel),
        )

    def _event(self, axes: Axes) -> tuple[int, float]:
        if not self._events:
            return -1, 0.0
        found = self._events.get(_key(axes))
        if found is None and _CAMERA in axes:
            # The engine adds this axis itself where one exposure gives images of several cameras.
            found = self._events.get(_key({k: v for k, v in axes.items() if k != _CAMERA}))
        if found is None:
            self.unknown += 1
            return -1, 0.0
        return found

    def _number_channel(self, name: object) -> int:
        """Return a whole channel as it is, and number names as they come."""
        if isinstance(name, int) and name >= 0:
            return name
        if not isinstance(name, str) or (name not in self._names and len(self._names) >= 1000):
            return 0
        return self._names.setdefault(name, len(self._names))


def check_option(name: str, option: ByAxes, kinds: type | tuple[type, ...]) -> None:
    """Refuse an option that is neither a value of ``kinds`` nor depends on axes.

    Raises
    ------
    BusError
        If so.
    """
    if option is None or callable(option) or isinstance(option, Mapping):
        return
    if not isinstance(option, kinds) or isinstance(option, bool):
        raise BusError(
            f"{name} is {option!r}",
            "give a value, a dict from the axis 'channel' to values, or a function of the axes",
        )


def _by_axes(option: ByAxes, axes: Axes, default: object) -> Any:  # noqa: ANN401
    if isinstance(option, Mapping):
        return option.get(axes.get("channel"), default)
    function: Callable[[Axes], Any] | None = option if callable(option) else None
    return option if function is None else function(axes)


def _key(axes: Axes) -> Hashable:
    return frozenset(axes.items())


def _as_list(events: object) -> list[dict[str, Any]]:
    found = [events] if isinstance(events, dict) else events
    if not isinstance(found, (list, tuple)):
        raise BusError(
            f"events is {type(events).__name__}, not a list of pycromanager's events",
            "make a list first and give the same one to hook(events=...) and acq.acquire(...)",
        )
    for event in found:
        if not isinstance(event, dict) or not isinstance(event.get("axes"), dict):
            raise BusError(
                f"{event!r} is not an event: it has no 'axes'", "see pycromanager's events"
            )
    return list(found)
