"""What the daemon decides from what its stages said last: hangs, deaths, successors, the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from livedenoise.bus import wire
from livedenoise.bus.ring import RingTotals
from livedenoise.core.camera import WAITS, CameraInfo, Prepared
from livedenoise.core.clock import now_ns
from livedenoise.core.config import Config
from livedenoise.core.errors import (
    EXIT_CAMERA,
    EXIT_DENOISER,
    EXIT_INTERNAL,
    EXIT_RECORD,
    StageError,
)
from livedenoise.daemon.line import Line
from livedenoise.daemon.outcome import Outcome
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.daemon.supervisor import Supervisor
from livedenoise.supervise.process import StageProcess
from livedenoise.testing.live import small_config

LONG_AGO_NS = 60_000_000_000


class FakeProcess:
    log_path = Path("logs/stage.log")
    pid = 7

    def __init__(self) -> None:
        self.killed = False

    def kill(self) -> None:
        self.killed = True


class FakeStages:
    """Stages that say nothing by themselves, and remember what they were told."""

    def __init__(self, *names: str) -> None:
        self.handles = {name: self.make(name) for name in names}
        self.orders: list[tuple[str, wire.Message]] = []
        self.ended: list[str] = []

    def get(self, kind: str, camera: str) -> StageHandle | None:
        return self.handles.get(f"{kind}.{camera}")

    def send(self, handle: StageHandle, message: wire.Message) -> None:
        self.orders.append((handle.name, message))

    def end(self, handle: StageHandle) -> None:
        self.ended.append(handle.name)

    def stopped(self) -> list[str]:
        return [name for name, order in self.orders if isinstance(order, wire.Stop)]

    def told(self, kind: type[wire.Message]) -> list[str]:
        return [name for name, order in self.orders if isinstance(order, kind)]

    def killed(self, name: str) -> bool:
        return cast("FakeProcess", self.handles[name].process).killed

    @staticmethod
    def make(name: str, *, restarts: int = 0, ready: bool = True) -> StageHandle:
        kind, _, camera = name.partition(".")
        process = cast("StageProcess", FakeProcess())
        moment_ns = now_ns()
        return StageHandle(
            name=name,
            kind=kind,
            camera=camera,
            process=process,
            ready={} if ready else None,
            configured=ready,
            restarts=restarts,
            t_born_ns=moment_ns,
            t_step_ns=moment_ns,
            t_heard_ns=moment_ns,
        )


class FakeLine:
    """A line that spawns fakes and remembers what was configured and announced."""

    def __init__(self, config: Config, stages: FakeStages, facts: CameraFacts) -> None:
        self.camera, self.facts, self.name = config.camera[0], facts, "a"
        self.totals = RingTotals(
            captured=100,
            published=100,
            dropped_full=0,
            lost_at_camera=0,
            last_seq=99,
            last_host_ns=1,
        )
        self.done: list[str] = []
        self._stages = stages

    def get(self, kind: str) -> StageHandle | None:
        return self._stages.get(kind, "a")

    def existing(self, kind: str) -> StageHandle:
        handle = self.get(kind)
        assert handle is not None
        return handle

    def spawn(self, kind: str, n_frames: int | None) -> StageHandle:
        before = self.existing(kind)
        self.done.append(f"spawn {kind} {n_frames}")
        heir = FakeStages.make(before.name, restarts=before.restarts + 1, ready=False)
        self._stages.handles[before.name] = heir
        return heir

    def learn_facts(self) -> None:
        self.done.append("facts")

    def configure(self, kind: str, *, successor: bool) -> None:
        assert successor
        self.done.append(f"configure {kind}")

    def take_address(self, kind: str) -> None:
        self.done.append(f"address {kind}")

    def announce(self, kind: str) -> None:
        self.done.append(f"announce {kind}")

    def raw_totals(self) -> RingTotals:
        return self.totals

    def clean_published(self) -> int:
        return 40

    def teach_view(self) -> None:
        """Nothing to teach a fake."""

    def follow_left_rings(self) -> None:
        """Nothing is left of fakes."""


def camera_facts(capabilities: tuple[str, ...] = (), **changes: Any) -> CameraFacts:
    values: dict[str, Any] = {
        "shape": (4, 4),
        "max_shape": (4, 4),
        "dtype": "<u2",
        "bit_depth": 16,
        "period_ns": 5_000_000,
        "exposure_us": 5000,
        "roi": (0, 0, 4, 4),
    }
    info = CameraInfo(
        name="x",
        kind="simulated",
        sensor=(4, 4),
        dtype="<u2",
        bit_depth=16,
        capabilities=capabilities,
    )
    return CameraFacts(info=info, prepared=Prepared(**(values | changes)))


class Scene:
    """A supervisor over fakes: acquire, record, denoise and record-clean of camera "a"."""

    def __init__(self, facts: CameraFacts | None = None, **supervise: Any) -> None:
        config = small_config(supervise=supervise)
        kinds = ("acquire", "record", "denoise", "record-clean", "view")
        self.stages = FakeStages(*(f"{kind}.a" for kind in kinds))
        self.line = FakeLine(config, self.stages, facts or camera_facts())
        self.outcome = Outcome()
        self.supervisor = Supervisor(
            config,
            cast("Stages", self.stages),
            {"a": cast("Line", self.line)},
            self.outcome,
            frames=250,
        )
        self.supervisor.begin()

    def handle(self, kind: str) -> StageHandle:
        return self.line.existing(kind)

    def die(self, kind: str, code: int = EXIT_INTERNAL, *, silently: bool = True) -> None:
        handle = self.handle(kind)
        handle.failed = StageError(f"stage {kind}.a ended", code)
        handle.silent_death = silently

    def back_in_time(self) -> None:
        """Let everything have happened long ago, but for what the stages say from now on."""
        self.supervisor._started_ns -= LONG_AGO_NS
        self.supervisor._awake_ns -= LONG_AGO_NS
        for handle in self.stages.handles.values():
            handle.t_born_ns -= LONG_AGO_NS

    def at_work(self, kind: str) -> None:
        """Let a successor say what it found, then that it is ready."""
        self.handle(kind).info = {}
        self.supervisor.follow()
        self.handle(kind).ready = {}
        self.supervisor.follow()


def test_a_killed_denoiser_is_replaced_and_its_readers_are_told() -> None:
    scene = Scene()
    scene.handle("denoise").metrics = {"counts": {"denoised": 30, "passthrough": 2}}
    dead = scene.handle("denoise")
    scene.die("denoise")
    scene.supervisor.follow()
    assert scene.line.done == ["spawn denoise 150"]
    assert scene.outcome.exit_code == 0
    scene.at_work("denoise")
    assert scene.line.done[1:] == ["configure denoise", "address denoise", "announce denoise"]
    assert scene.stages.told(wire.Start) == ["denoise.a"]
    assert dead.metrics["counts"]["denoised"] == 38, "what it published after its last report"
    assert scene.outcome.incidents[0].ready_after_s >= 0


def test_a_killed_camera_process_is_asked_for_the_frames_still_wanted() -> None:
    scene = Scene()
    scene.die("acquire")
    scene.supervisor.follow()
    assert scene.line.done == ["spawn acquire 150"]
    scene.at_work("acquire")
    assert scene.line.done[1:] == [
        "facts",
        "configure acquire",
        "address acquire",
        "announce acquire",
    ]


def test_a_recorder_waits_for_the_camera_that_is_being_replaced() -> None:
    scene = Scene()
    scene.die("acquire")
    scene.die("record")
    scene.supervisor.follow()
    scene.handle("record").info = {}
    scene.supervisor.follow()
    assert "configure record" not in scene.line.done
    scene.at_work("acquire")
    scene.supervisor.follow()
    assert scene.line.done[-1] == "configure record"


def test_a_successor_that_dies_is_replaced_in_turn() -> None:
    scene = Scene()
    for _ in range(3):
        scene.die("denoise")
        dead = scene.handle("denoise")
        scene.supervisor.follow()
    assert scene.line.done == ["spawn denoise 150"] * 3
    assert "denoised" not in dead.metrics.get("counts", {}), "it never had a ring of its own"
    scene.at_work("denoise")
    assert scene.line.done[3:] == ["configure denoise", "address denoise", "announce denoise"]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("acquire", EXIT_CAMERA),
        ("denoise", EXIT_DENOISER),
        ("record", EXIT_RECORD),
        ("record-clean", EXIT_RECORD),
        ("view", 0),
    ],
)
def test_a_stage_beyond_its_budget_is_given_up(kind: str, code: int) -> None:
    scene = Scene(restarts=2)
    for _ in range(3):
        scene.die(kind)
        scene.supervisor.follow()
    assert scene.line.done == [f"spawn {kind} 150"] * 2
    assert scene.outcome.exit_code == code
    assert bool(scene.outcome.errors) == bool(code)
    writers = {
        "acquire": [],
        "record-clean": ["denoise.a"],
        "view": ["acquire.a", "acquire.a", "denoise.a", "denoise.a"],
    }
    assert scene.stages.told(wire.ReaderGone) == writers.get(kind, ["acquire.a"])


def test_the_readers_of_a_stage_given_up_drain_once() -> None:
    scene = Scene(restarts=0)
    scene.die("acquire")
    scene.supervisor.follow()
    scene.supervisor.follow()
    assert sorted(scene.stages.stopped()) == ["denoise.a", "record.a", "view.a"]


def test_a_writer_that_is_not_configured_is_not_told_of_readers() -> None:
    scene = Scene(restarts=1)
    scene.die("acquire")
    scene.supervisor.follow()
    scene.die("view")
    scene.supervisor.follow()
    scene.die("view")
    scene.supervisor.follow()
    assert scene.stages.told(wire.ReaderGone) == ["denoise.a", "denoise.a"]


def test_a_process_that_cannot_be_started_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(kind: str, n_frames: int | None) -> StageHandle:
        raise StageError(f"no memory for {kind} {n_frames}", EXIT_INTERNAL)

    scene = Scene()
    monkeypatch.setattr(scene.line, "spawn", refuse)
    scene.die("denoise")
    scene.supervisor.follow()
    scene.supervisor.follow()
    assert scene.outcome.exit_code == EXIT_DENOISER
    assert "no memory" in scene.outcome.errors[0]
    assert scene.supervisor.lasting


def test_readers_that_were_attaching_to_a_dead_writer_start_again_for_free() -> None:
    scene = Scene(restarts=1)
    scene.die("record")
    scene.supervisor.follow()
    heir = scene.handle("record")
    heir.configured = True
    scene.die("acquire")
    scene.supervisor.follow()
    assert scene.stages.killed("record.a")
    scene.die("record")
    scene.supervisor.follow()
    assert scene.line.done.count("spawn record 150") == 2
    assert scene.outcome.exit_code == 0


def test_a_full_disk_a_broken_camera_and_a_wrong_package_are_not_tried_again() -> None:
    scene = Scene()
    scene.die("record", EXIT_RECORD, silently=False)
    scene.die("denoise", 2, silently=False)
    scene.supervisor.follow()
    assert scene.line.done == []
    assert scene.outcome.exit_code == EXIT_RECORD
    scene.die("acquire", EXIT_CAMERA, silently=False)
    scene.supervisor.follow()
    assert scene.line.done == []


def test_an_engine_that_gave_up_gets_a_new_process() -> None:
    scene = Scene()
    scene.die("denoise", EXIT_DENOISER, silently=False)
    scene.supervisor.follow()
    assert scene.line.done == ["spawn denoise 150"]


def test_while_stopping_a_recorder_is_replaced_and_a_camera_is_not() -> None:
    scene = Scene()
    scene.supervisor.stopping = True
    scene.die("record")
    scene.die("denoise")
    scene.supervisor.follow()
    assert scene.line.done == ["spawn record 150"]
    assert scene.outcome.exit_code == 0
    scene.die("acquire")
    scene.supervisor.follow()
    assert scene.line.done == ["spawn record 150"]


def test_a_recorder_whose_camera_is_gone_for_good_is_not_replaced() -> None:
    scene = Scene()
    scene.supervisor.stopping = True
    for kind in ("acquire", "record", "denoise", "record-clean", "view"):
        scene.die(kind)
    scene.supervisor.follow()
    assert scene.line.done == []
    assert scene.outcome.exit_code == EXIT_RECORD
    assert not scene.supervisor.lasting


def test_a_denoiser_owed_every_frame_is_replaced_while_stopping() -> None:
    scene = Scene(camera_facts(lossless=True))
    scene.supervisor.stopping = True
    scene.die("denoise")
    scene.supervisor.follow()
    assert scene.line.done == ["spawn denoise 150"]


@pytest.mark.parametrize("kind", ["acquire", "record", "denoise", "record-clean", "view"])
def test_a_process_without_heartbeat_is_killed(kind: str) -> None:
    scene = Scene()
    scene.back_in_time()
    scene.handle(kind).t_heard_ns -= LONG_AGO_NS
    scene.supervisor.follow()
    assert [scene.stages.killed(name) for name in scene.stages.handles] == [
        name == f"{kind}.a" for name in scene.stages.handles
    ]


def test_a_stuck_denoiser_is_killed_unless_it_said_to_be_busy() -> None:
    scene = Scene()
    scene.back_in_time()
    scene.handle("denoise").t_step_ns -= LONG_AGO_NS
    scene.handle("denoise").busy_until_ns = now_ns() + LONG_AGO_NS
    scene.supervisor.follow()
    assert not scene.stages.killed("denoise.a")
    scene.handle("denoise").busy_until_ns = 0
    scene.supervisor.follow()
    assert scene.stages.killed("denoise.a")


def test_a_slow_disk_is_a_note_and_nothing_is_killed() -> None:
    scene = Scene()
    scene.back_in_time()
    scene.handle("record").t_step_ns = now_ns() - 6_000_000_000
    for _ in range(3):
        scene.supervisor.follow()
    assert not scene.stages.killed("record.a")
    assert len(scene.outcome.notes) == 1
    assert "slow disk" in scene.outcome.notes[0]


def test_a_slow_bring_up_is_no_hang() -> None:
    scene = Scene()
    for handle in scene.stages.handles.values():
        # The last it said came from before the engine was loaded.
        handle.t_step_ns = handle.t_heard_ns = now_ns() - LONG_AGO_NS
    scene.supervisor.begin()
    scene.supervisor.follow()
    assert not any(scene.stages.killed(name) for name in scene.stages.handles)


def test_a_process_that_still_imports_is_given_its_time() -> None:
    scene = Scene()
    scene.die("denoise")
    scene.supervisor.follow()
    heir = scene.handle("denoise")
    scene.supervisor._started_ns -= LONG_AGO_NS
    scene.supervisor._awake_ns -= LONG_AGO_NS
    heir.t_born_ns = heir.t_heard_ns = now_ns() - 15_000_000_000
    scene.supervisor.follow()
    assert not scene.stages.killed("denoise.a"), "not a word yet"
    heir.t_heard_ns += 1
    scene.supervisor.follow()
    assert scene.stages.killed("denoise.a"), "heard of once, then silent"


def test_a_long_call_that_was_announced_is_no_silence() -> None:
    scene = Scene()
    scene.back_in_time()
    scene.handle("denoise").t_heard_ns -= LONG_AGO_NS
    scene.handle("denoise").t_step_ns -= LONG_AGO_NS
    scene.handle("denoise").busy_until_ns = now_ns() + LONG_AGO_NS
    scene.supervisor.follow()
    assert not scene.stages.killed("denoise.a")


def test_a_daemon_that_slept_does_not_blame_its_stages() -> None:
    scene = Scene()
    scene.back_in_time()
    for handle in scene.stages.handles.values():
        handle.t_heard_ns -= LONG_AGO_NS
        handle.t_step_ns -= LONG_AGO_NS
    scene.supervisor._round_ns -= LONG_AGO_NS
    scene.supervisor.follow()
    assert not any(scene.stages.killed(name) for name in scene.stages.handles)


def test_a_camera_that_ignores_its_stop_is_killed_in_the_end() -> None:
    scene = Scene()
    scene.back_in_time()
    scene.handle("acquire").t_step_ns -= LONG_AGO_NS
    scene.supervisor.follow()
    scene.supervisor._stalled["acquire.a"] -= LONG_AGO_NS
    scene.supervisor.follow()
    assert scene.stages.killed("acquire.a")


def test_a_camera_without_frames_is_stopped_then_killed() -> None:
    scene = Scene()
    scene.back_in_time()
    scene.handle("acquire").t_step_ns -= LONG_AGO_NS
    scene.supervisor.follow()
    assert scene.stages.stopped() == ["acquire.a"]
    assert scene.outcome.exit_code == EXIT_CAMERA
    assert not scene.stages.killed("acquire.a"), "it is given the time to end in order"
    scene.handle("acquire").t_heard_ns -= LONG_AGO_NS
    scene.supervisor.follow()
    assert scene.stages.killed("acquire.a"), "its driver does not come back from its stop"
    scene.die("acquire")
    scene.supervisor.follow()
    assert scene.line.done == [], "and not replaced"


@pytest.mark.parametrize("facts", [camera_facts((WAITS,)), camera_facts(lossless=True)])
def test_a_camera_that_may_wait_is_never_without_frames(facts: CameraFacts) -> None:
    scene = Scene(facts)
    scene.back_in_time()
    scene.handle("acquire").t_step_ns -= LONG_AGO_NS
    scene.supervisor.follow()
    assert scene.stages.stopped() == []


def test_a_successor_that_is_never_ready_is_killed() -> None:
    scene = Scene()
    scene.die("denoise")
    scene.supervisor.follow()
    heir = scene.handle("denoise")
    scene.supervisor._started_ns -= LONG_AGO_NS * 2
    heir.t_born_ns -= LONG_AGO_NS * 2
    scene.supervisor.follow()
    assert scene.stages.killed("denoise.a")


def test_a_successor_that_cannot_be_configured_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(kind: str, *, successor: bool) -> None:
        raise StageError(f"no memory for {kind} {successor}", EXIT_INTERNAL)

    scene = Scene()
    monkeypatch.setattr(scene.line, "configure", refuse)
    scene.die("denoise")
    scene.supervisor.follow()
    scene.handle("denoise").info = {}
    scene.supervisor.follow()
    assert scene.stages.killed("denoise.a")
    assert "no memory" in scene.outcome.errors[0]
    scene.die("denoise")
    scene.supervisor.follow()
    assert scene.line.done == ["spawn denoise 150"]


def test_it_lasts_until_everything_is_over() -> None:
    scene = Scene()
    for handle in scene.stages.handles.values():
        handle.finished = True
    assert not scene.supervisor.lasting
    scene.handle("record").finished = False
    assert scene.supervisor.lasting
