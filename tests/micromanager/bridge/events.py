"""Which acquisition events run as one hardware sequence. Pure.

Knows: the events a client sends (dictionaries) and the rule of Micro-Manager's acquisition engine:
events of ONE ``acquire`` call are merged while nothing but their axes and exposure differs, and
different exposures only where the camera can sequence them. Must not know: a core.
"""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]
KNOWN = {"axes", "exposure", "min_start_time", "config_group", "properties", "tags"}
_MAY_DIFFER = {"axes", "exposure", "tags"}


def is_end(event: Event) -> bool:
    """Tell whether an event says that no more will come."""
    return event.get("special") == "acquisition-end"


def runs(events: list[Event], longest_exposure_sequence: int) -> list[list[Event]]:
    """Return the events in the groups that are executed at once, in their order.

    Parameters
    ----------
    events : list of dict
        Those of one ``acquire`` call.
    longest_exposure_sequence : int
        0 when the camera cannot sequence its exposure.

    Raises
    ------
    ValueError
        For an event with keys that this bridge does not execute.
    """
    groups: list[list[Event]] = []
    for event in events:
        if unknown := set(event) - KNOWN:
            raise ValueError(f"event keys {sorted(unknown)} are not executed by the test bridge")
        if groups and _fits(groups[-1], event, longest_exposure_sequence):
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def exposures(group: list[Event]) -> list[float]:
    """Return the exposure of each event, in ms; empty when none is given."""
    given = [event["exposure"] for event in group if event.get("exposure") is not None]
    return [float(value) for value in given] if len(given) == len(group) else []


def _fits(group: list[Event], event: Event, longest: int) -> bool:
    same = _fixed(group[-1]) == _fixed(event)
    every = [*group, event]
    differ = len({item.get("exposure") for item in every}) > 1
    return same and (not differ or (bool(exposures(every)) and len(every) <= longest))


def _fixed(event: Event) -> Event:
    return {key: value for key, value in event.items() if key not in _MAY_DIFFER}
