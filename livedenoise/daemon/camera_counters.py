"""What a camera counted beside its frames, in words for people: one table for all cameras. Pure.

Knows: the names that cameras count under (``counters()``), what each means, and which of them mean
frames that nobody has. Must not know: cameras, processes. A name that is not in the table is said
as it is: nothing a camera counted is kept from its user.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

PREFIX = "camera."
"""Of the gauges that carry them."""


class Words(msgspec.Struct, frozen=True):
    """How a count is said.

    Attributes
    ----------
    one, many : str
        For 1 and for more, with ``{n}``.
    mend : str
        What to do.
    loss : bool
        Whether frames are missing: said as an alert while it goes on.
    """

    one: str
    many: str
    mend: str = ""
    loss: bool = False


WORDS = {
    "changed_under_us": Words(
        "somebody else changed region or binning; the sequence was started again (a new epoch)",
        "somebody else changed region or binning {n} times; the sequence was started again each "
        "time (a new epoch)",
    ),
    "incomplete": Words(
        "1 frame was cut by a change of region or binning, and is lost",
        "{n} frames were cut by changes of region or binning, and are lost",
        "change them while the camera stands still",
        loss=True,
    ),
    "gone_from_buffer": Words(
        "1 frame waited in Micro-Manager's buffer when region or binning was changed, and is gone",
        "{n} frames waited in Micro-Manager's buffer when region or binning was changed, and are "
        "gone",
        "change them while the camera stands still",
        loss=True,
    ),
    "rate_differs": Words(
        *2 * ("frames do not come at camera.rate_hz",),
        "it sets no rate, it is what to expect: leave it out, or set what the camera delivers",
    ),
    "renumbered": Words(
        "the camera began to count anew: what was lost just then is not known",
        "the camera began to count anew {n} times: what was lost just then is not known",
    ),
    "left_in_buffer": Words(
        "1 frame was exposed and not taken when the camera was stopped",
        "{n} frames were exposed and not taken when the camera was stopped",
        "they came faster than they were taken: a smaller region or rate",
        loss=True,
    ),
    "not_forwarded": Words(
        "1 frame of another channel was not taken by its network camera",
        "{n} frames of other channels were not taken by their network cameras",
        "see those cameras, and whether the machine keeps up",
        loss=True,
    ),
    "channel_not_taken": Words(
        "1 frame of another channel is in no stream",
        "{n} frames of other channels are in no stream",
        "name the channel in camera.forward, or one camera as camera.device",
        loss=True,
    ),
    "loss_unknown": Words(
        "once frames of the live view were missed and their number is not known",
        "{n} times frames of the live view were missed and their number is not known",
        "a smaller region or rate; data that must be complete is taken with mode own",
        loss=True,
    ),
    "loss_estimated": Words(
        "once the number of missed frames was worked out from the time that passed",
        "{n} times the number of missed frames was worked out from the time that passed",
    ),
    "restarts": Words("the live view was started anew", "the live view was started anew {n} times"),
    "unfit": Words(
        "1 look came while the camera's format was being changed, and was thrown away",
        "{n} looks came while the camera's format was being changed, and were thrown away",
    ),
    "other_channels": Words(
        "1 frame of another channel was looked at and passed over",
        "{n} frames of other channels were looked at and passed over",
    ),
}
"""By the name a camera counts under."""

SAID_ELSEWHERE = frozenset({"lost", "senders", "forwarded", "hardware_sequenced"})
"""Losses that are in ``lost_at_camera`` already, and what is as it should be."""


def counters_in(gauges: Mapping[str, float]) -> dict[str, int]:
    """Return what a camera counted, by name; without what it refused (``Line.refusals``)."""
    return {
        name.removeprefix(PREFIX): int(value)
        for name, value in gauges.items()
        if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}refused")
    }


def in_words(name: str, count: int) -> str:
    """Return one count in words: ``renumbered``, 2 gives "the camera began to count anew 2 ..."."""
    words = WORDS.get(name)
    if words is None:
        return f"{name.replace('_', ' ')}: {count}"
    return (words.one if count == 1 else words.many).format(n=count)


def counter_notes(counters: Mapping[str, int]) -> list[str]:
    """Return what happened beside the frames, a line each; what never happened is left out."""
    return [
        _with_mend(name, in_words(name, count))
        for name, count in counters.items()
        if count > 0 and name not in SAID_ELSEWHERE
    ]


def losses_since(now: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
    """Return which frames were lost since ``before``, a line each, with the mend."""
    added = {name: count - before.get(name, 0) for name, count in now.items()}
    return [
        _with_mend(name, in_words(name, count))
        for name, count in added.items()
        if count > 0 and name in WORDS and WORDS[name].loss
    ]


def _with_mend(name: str, text: str) -> str:
    mend = WORDS[name].mend if name in WORDS else ""
    return f"{text}: {mend}" if mend else text
