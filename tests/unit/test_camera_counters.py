"""What a camera counted beside its frames reaches people, in words: none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from snapshot_kit import snapshot, stream

from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.alerts import alerts
from livedenoise.daemon.camera_counters import (
    SAID_ELSEWHERE,
    WORDS,
    counter_notes,
    counters_in,
    in_words,
    losses_since,
)
from livedenoise.daemon.stages import Past, StageHandle, Stages

PACKAGE = Path(__file__).resolve().parents[2] / "livedenoise"
LOSSES = {
    "incomplete",
    "gone_from_buffer",
    "not_forwarded",
    "channel_not_taken",
    "loss_unknown",
    "left_in_buffer",
}
FLAGS = {"rate_differs"}
"""Are so or not."""
COUNTED_AS = re.compile(r'counts\["([a-z_]+)"\] (?:\+?=)|counts\["([a-z_]+)" if')
"""How the cameras of Micro-Manager count."""


def counted_by_cameras() -> set[str]:
    """Return the names under which the cameras' code counts."""
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.glob("acquire/micromanager*.py")]
    return {name for text in texts for found in COUNTED_AS.findall(text) for name in found if name}


def test_every_name_a_camera_counts_under_has_words() -> None:
    names = counted_by_cameras()
    assert {"changed_under_us", "incomplete", "loss_unknown", "lost"} <= names
    assert names <= set(WORDS) | SAID_ELSEWHERE


@pytest.mark.parametrize("name", WORDS)
def test_one_and_many_are_said_without_a_leftover(name: str) -> None:
    assert "{" not in in_words(name, 1) + in_words(name, 73)
    assert "73" in in_words(name, 73) or name in FLAGS
    (note,) = counter_notes({name: 73})
    assert note.startswith(in_words(name, 73))
    assert bool(WORDS[name].loss) == (name in LOSSES)


def test_what_never_happened_is_not_said_and_what_is_new_is_said_as_it_is() -> None:
    assert counter_notes({"incomplete": 0, "forwarded": 9, "lost": 4, "senders": 1}) == []
    assert counter_notes({"odd_frames": 3}) == ["odd frames: 3"]


def test_only_counters_are_taken_from_the_gauges() -> None:
    gauges = {"ring_fill": 0.5, "camera.incomplete": 2.0, "camera.refused_dtype": 7.0}
    assert counters_in(gauges) == {"incomplete": 2}


def run(**counters: int) -> StatusSnapshot:
    return snapshot(streams=(stream(counters=counters),))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_is_an_alert_with_its_mend_until_it_stops(name: str) -> None:
    (text,) = alerts(run(**{name: 5}), run(**{name: 3}))
    assert text == f"sim: in the last 10 s: {in_words(name, 2)}: {WORDS[name].mend}"
    assert alerts(run(**{name: 5}), run(**{name: 5})) == ()


def test_what_is_no_loss_is_no_alert() -> None:
    assert losses_since(dict.fromkeys(set(WORDS) - LOSSES, 5), {}) == []


class _Server:
    """Takes orders for nobody."""


def handle(**gauges: float) -> StageHandle:
    metrics: dict[str, Any] = {"counts": {}, "dropped": {}, "gauges": gauges, "hops": {}}
    name = "acquire.sim"
    return StageHandle(name=name, kind="acquire", camera="sim", process=None, metrics=metrics)


def test_replaced_processes_are_summed_and_other_gauges_are_the_last_ones() -> None:
    stages = Stages(_Server(), Path(), 100)  # type: ignore[arg-type]
    past = Past()
    for count in (3, 4):
        past.add(handle(**{"camera.incomplete": count, "camera.unfit": 1, "ring_fill": 0.9}))
    stages._past["acquire.sim"] = past
    stages.handles["acquire.sim"] = handle(**{"camera.incomplete": 10, "ring_fill": 0.25})
    gauges = stages.totals("acquire", "sim").gauges
    assert counters_in(gauges) == {"incomplete": 17, "unfit": 2}
    assert gauges["ring_fill"] == 0.25
