"""What a camera counts is in the notes of a real run while it goes on, and in its summary."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from livedenoise.daemon import plan
from livedenoise.daemon.camera_counters import WORDS, in_words
from livedenoise.testing.counting import ENTRY, VARIABLE
from livedenoise.testing.live import LiveRun, small_config

Start = Callable[..., LiveRun]
COUNTED = {name: 2 + index for index, name in enumerate(WORDS)}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plan.ENTRIES, "acquire", ENTRY)
    monkeypatch.setenv(VARIABLE, json.dumps(COUNTED))


@pytest.mark.usefixtures("counting")
def test_every_counter_reaches_the_summary(start: Start) -> None:
    run = start(small_config(), frames=40)
    summary = run.result()
    assert (summary.exit_code, summary.errors) == (0, [])
    written = json.loads((Path(summary.run_dir) / "summary.json").read_text())["notes"]
    for name, count in COUNTED.items():
        (note,) = [note for note in written if in_words(name, count) in note]
        assert note.startswith("sim: ")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.usefixtures("counting")
def test_they_are_seen_during_the_run_and_summed_over_replaced_processes(start: Start) -> None:
    run = start(small_config())
    once, twice = (in_words("incomplete", times * COUNTED["incomplete"]) for times in (1, 2))
    run.until(lambda s: any(once in text for text in s.notes))
    run.until(lambda s: any(once in text for text in s.alerts))
    os.kill(run.daemon.stage_pids()["acquire.sim"], signal.SIGKILL)
    run.until(lambda s: s.streams[0].counters["incomplete"] == 2 * COUNTED["incomplete"])
    run.daemon.request_stop()
    assert any(twice in note for note in run.result().notes)
