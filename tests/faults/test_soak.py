"""The soak itself: a short one passes; what soaking found does not come back."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import wait_until

from livedenoise.testing.live import LiveRun, small_config

TOOLS = Path(__file__).resolve().parents[2] / "tools"
MODULES = (
    "bench_common",
    "soak_recording",
    "soak_images",
    "soak_check",
    "soak_facts",
    "soak_times",
    "soak_tail",
    "soak_run",
    "soak_report",
    "soak_session",
    "soak",
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(scope="module")
def tools() -> Iterator[SimpleNamespace]:
    """Import the tools, which are no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name, None)


def test_a_short_soak_keeps_every_promise(tools: SimpleNamespace, tmp_path: Path) -> None:
    kinds = ("acquire", "denoise", "record")
    options = tools.soak_facts.Options(
        setup=tools.soak_facts.Setup(size_px=32, rate_hz=200.0, kinds=kinds),
        out=tmp_path / "soak",
        seed=5,
        kills=3,
        interval_s=0.3,
        hang_fraction=0.0,
        daemon_kills=0.0,
    )
    told: list[float] = []
    report = tools.soak.run_soak(options, lambda _, done: told.append(done))
    assert report["problems"] == []
    frames, blows = report["figures"]["frames"], report["figures"]["blows"]
    assert blows["processes_killed"] >= 3
    assert frames["acknowledged_lost"] == 0
    assert frames["acknowledged_seen"] == frames["recorded"] > 100
    assert report["figures"]["to_next_denoised_ms"]["every blow"]["never"] == 0
    assert not list((tmp_path / "soak").iterdir()), "a verified run folder is removed"
    assert told[-1] == 1.0


def test_blows_repeat_with_their_seed(tools: SimpleNamespace) -> None:
    import random

    setup = tools.soak_facts.Setup()
    options = tools.soak_facts.Options(setup=setup, out=Path("nowhere"), hang_fraction=0.5)
    drawn = [
        [tools.soak_facts.draw(r, options) for _ in range(300)] for r in map(random.Random, (1, 1))
    ]
    assert drawn[0] == drawn[1]
    sorts = {strike.sort for strike in drawn[0]}
    assert sorts == {signal.SIGKILL, signal.SIGSTOP}
    assert {len(strike.kinds) for strike in drawn[0]} == {0, 1, 2}
    assert {kind for strike in drawn[0] for kind in strike.kinds} == set(tools.soak_facts.KINDS)


def test_recovery_counts_from_the_blow_to_a_frame_captured_after_it(
    tools: SimpleNamespace,
) -> None:
    ms = 1_000_000
    blows = [
        tools.soak_facts.Blow(t_ns=at * ms, kinds=("denoise",), sort="SIGKILL", pids=(1,))
        for at in (100, 300, 350)
    ]
    # Captured before the first blow and published after it: it was under way.
    denoised = [(99 * ms, 101 * ms), (180 * ms, 190 * ms), (400 * ms, 420 * ms)]
    tools.soak_times.note_recovery(blows, denoised)
    assert [blow.denoised_ms for blow in blows] == [90.0, 120.0, 70.0]
    assert [blow.alone for blow in blows] == [True, False, False]


def test_memory_slope_ignores_the_level_of_each_run(tools: SimpleNamespace) -> None:
    def samples(level: float) -> list[Any]:
        return [SimpleNamespace(t_s=float(t), private_mb=level + t / 3600 * 5) for t in range(180)]

    slope = tools.soak_report.slope_per_hour([samples(100.0), samples(300.0)], "private_mb")
    assert slope == pytest.approx(5.0)
    assert tools.soak_report.slope_per_hour([samples(1.0)[:80]], "private_mb") is None


@pytest.mark.parametrize("name", ["daemon_fds", "segments"])
def test_descriptors_and_segments_that_grow_with_the_blows_are_found(
    tools: SimpleNamespace, name: str
) -> None:
    def sample(blows: int, **more: int) -> Any:
        return SimpleNamespace(**{"blows": blows, "daemon_fds": 20, "segments": 2} | more)

    find = tools.soak_report.leak_problems
    assert not find([sample(0), sample(40)])
    assert name in find([sample(0), sample(40, **{name: 62})])[0]


# ---- what soaking found


def test_a_camera_killed_while_its_recorder_is_replaced_gets_both_back(
    start: Callable[..., LiveRun],
) -> None:
    """The recorder's successor must be told where the camera's successor is, not where it was."""
    run = start(small_config(record={"raw": True}))
    run.until(lambda s: s.streams[0].recorded > 20)
    pids = run.daemon.stage_pids
    first = pids()
    os.kill(first["record.sim"], signal.SIGKILL)
    wait_until(lambda: pids()["record.sim"] != first["record.sim"], 10.0)
    os.kill(first["acquire.sim"], signal.SIGKILL)
    wait_until(lambda: pids()["acquire.sim"] != first["acquire.sim"], 10.0)
    before = run.snapshots[-1].streams[0].recorded
    run.until(lambda s: s.streams[0].recorded > before + 60)
    run.daemon.request_stop()
    summary = run.result()
    assert summary.exit_code == 0, summary.errors
    assert summary.conserved
