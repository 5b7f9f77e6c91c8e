"""Ceilings and verdicts from made-up costs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livedenoise.core.check_facts import Ceiling, Verdict
from livedenoise.core.config import parse_config
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.preflight import demand as demands_of
from livedenoise.daemon.preflight.ceilings import (
    DENOISER,
    MESSAGES,
    RAW_TOGETHER,
    RECORDER,
    RING,
    TOGETHER,
    Cost,
    ceilings,
    recorder_cost,
    verdict,
)
from livedenoise.daemon.preflight.demand import Demand

POSITIVE = st.floats(1e-6, 10.0)


def demand(**changes: Any) -> Demand:
    values: dict[str, Any] = {
        "camera": "cam",
        "shape": (1000, 1000),
        "dtype": "<u2",
        "fps": 100.0,
        "waits": False,
        "denoise": "latest",
        "raw": True,
        "clean": False,
    }
    return Demand(**values | changes)


def cost(stage: str, fps: float, cpu_s: float = 0.0) -> Cost:
    return Cost(stage=stage, s=1 / fps, cpu_s=cpu_s, frame_bytes=2_000_000, method="made up")


def judged(one: Demand, *costs: Cost, processors: int = 4) -> tuple[dict[str, Ceiling], Verdict]:
    rows = ceilings([one], {one.camera: costs}, processors)
    found = verdict(one, rows)
    assert found is not None
    return {row.stage: row for row in rows}, found


def test_a_machine_with_room_keeps_up() -> None:
    rows, found = judged(demand(), cost(RING, 900), cost(RECORDER, 300), cost(DENOISER, 200))
    assert (found.ok, found.text.startswith("will keep up")) == ("ok", True)
    assert [row.stage for row in rows.values() if row.limits] == [DENOISER]
    assert rows[RING].mb_per_s == pytest.approx(1800)


def test_a_slow_denoiser_skips_and_the_recording_is_unaffected() -> None:
    _, found = judged(demand(), cost(RING, 900), cost(RECORDER, 300), cost(DENOISER, 40))
    assert found.ok == "warning"
    assert "skip about 60 %" in found.text
    assert "raw recording is unaffected" in found.text
    assert found.mend


def test_a_slow_recorder_loses_frames_even_with_a_slower_denoiser() -> None:
    _, found = judged(demand(), cost(RING, 900), cost(RECORDER, 75), cost(DENOISER, 40))
    assert found.ok == "problem"
    assert "about 25 %" in found.text
    assert "recorder" in found.text
    assert "record.clean" not in found.mend
    _, both = judged(demand(clean=True), cost(RING, 900), cost(RECORDER, 75))
    assert "record.clean" in both.mend


def test_a_slow_ring_loses_frames() -> None:
    _, found = judged(demand(), cost(RING, 50), cost(MESSAGES, 4000))
    assert (found.ok, "camera to ring" in found.text) == ("problem", True)


def test_a_lossless_denoiser_that_is_slow_loses_frames_of_a_camera() -> None:
    _, found = judged(demand(denoise="lossless"), cost(RING, 900), cost(DENOISER, 40))
    assert found.ok == "problem"
    assert "latest" in found.mend


def test_less_than_a_tenth_in_hand_just_keeps_up() -> None:
    assert judged(demand(), cost(RING, 900), cost(DENOISER, 105))[1].ok == "warning"
    assert judged(demand(), cost(RING, 900), cost(DENOISER, 112))[1].ok == "ok"
    assert "just" in judged(demand(), cost(RING, 900), cost(DENOISER, 100.1))[1].text


def test_stages_share_the_processors() -> None:
    # 0.9 x 2 processors; raw stages take 100 x 0.004; a denoised frame takes 0.02: 70 a second.
    costs = (cost(RING, 900, 0.001), cost(RECORDER, 300, 0.003), cost(DENOISER, 100, 0.02))
    rows, found = judged(demand(), *costs, processors=2)
    assert rows[TOGETHER].fps == pytest.approx(70)
    assert rows[TOGETHER].limits
    assert "skip about 30 %" in found.text


def test_denoisers_of_two_cameras_divide_what_is_left() -> None:
    both = [demand(camera="a"), demand(camera="b", fps=50.0)]
    costs = {d.camera: [cost(RING, 900, 0.002), cost(DENOISER, 500, 0.01)] for d in both}
    rows = {(r.camera, r.stage): r for r in ceilings(both, costs, 2)}
    # left: 1.8 - 150 x 0.002 = 1.5 for 150 x 0.01 = 1.5
    assert rows["a", TOGETHER].fps == pytest.approx(100)
    assert rows["b", TOGETHER].fps == pytest.approx(50)


def test_when_raw_stages_use_up_the_processors_frames_are_lost() -> None:
    rows, found = judged(demand(), cost(RING, 900, 0.02), cost(DENOISER, 100, 0.02), processors=2)
    assert rows[RAW_TOGETHER].fps == pytest.approx(90)
    assert TOGETHER not in rows
    assert found.ok == "problem"


def test_a_source_that_waits_loses_nothing() -> None:
    waiting = demand(fps=0.0, waits=True, denoise="lossless")
    rows, found = judged(waiting, cost(RING, 900, 0.01), cost(DENOISER, 40, 0.05), processors=2)
    assert found.ok == "ok"
    assert "30" in found.text
    assert rows[TOGETHER].fps == pytest.approx(1.8 / 0.06)


def test_a_camera_of_unknown_rate_is_told_how_fast_it_may_be() -> None:
    _, found = judged(demand(fps=0.0), cost(RING, 900), cost(DENOISER, 40))
    assert "up to about 40 fps" in found.text


def test_without_any_row_there_is_no_verdict() -> None:
    assert verdict(demand(), []) is None
    assert ceilings([demand()], {"cam": []}, 4) == []


def test_recorders_of_all_streams_share_one_disk() -> None:
    # a: 100 fps x 2 MB x 2 streams; b: 50 fps x 2 MB: 500 MB/s asked of a disk of 250 MB/s.
    both = [demand(camera="a", clean=True), demand(camera="b", fps=50.0)]
    found = [
        recorder_cost(d, both, bytes_per_s=250e6, cpu_s_per_byte=1e-9, method="") for d in both
    ]
    assert [1 / one.s for one in found] == pytest.approx([50, 25])
    assert [one.cpu_s for one in found] == pytest.approx([0.004, 0.002])
    assert [one.frame_bytes for one in found] == [4_000_000, 2_000_000]


def test_a_source_that_waits_has_the_disk_to_itself() -> None:
    one = demand(fps=0.0, waits=True, clean=True)
    found = recorder_cost(one, [one], bytes_per_s=400e6, cpu_s_per_byte=0.0, method="")
    assert 1 / found.s == pytest.approx(100)


@given(
    seconds=st.lists(POSITIVE, min_size=1, max_size=3),
    cpu=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    fps=st.one_of(st.just(0.0), st.floats(0.1, 5000)),
    processors=st.integers(1, 64),
    policy=st.sampled_from(["off", "latest", "lossless"]),
)
def test_the_lowest_row_is_marked_and_decides(
    seconds: list[float], cpu: list[float], fps: float, processors: int, policy: str
) -> None:
    stages = (RING, RECORDER, DENOISER)
    costs = [
        Cost(stage=stage, s=s, cpu_s=c, frame_bytes=1, method="")
        for stage, s, c in zip(stages, seconds, cpu, strict=False)
    ]
    one = demand(fps=fps, denoise=policy)
    rows = ceilings([one], {"cam": costs}, processors)
    marked = [row for row in rows if row.limits]
    assert len(marked) == 1
    assert marked[0].fps == min(row.fps for row in rows)
    found = verdict(one, rows)
    assert found is not None
    if fps:
        assert (found.ok == "ok") == (marked[0].fps * 0.9 >= fps)
        raw = [r.fps for r in rows if r.stage in (RING, RECORDER, RAW_TOGETHER)]
        assert found.ok == "problem" or min(raw) >= fps


def config(**sections: object) -> Any:
    camera = {"kind": "network", "width_px": 64, "height_px": 48, "rate_hz": 20.0}
    data = {"camera": [camera | {"name": n} for n in "ab"], **sections}
    return parse_config(data, "test")


def facts_of(configuration: Any, index: int = 0) -> CameraFacts:
    return demands_of.network_facts(configuration.camera[index])


def test_a_network_camera_is_what_its_configuration_says() -> None:
    facts = facts_of(config())
    assert facts.prepared.shape == (48, 64)
    assert facts.prepared.period_ns == 50_000_000
    assert facts.info.dtype == "<u2"


@pytest.mark.parametrize(
    ("denoise", "expected"),
    [
        ({}, "latest"),
        ({"policy": "lossless"}, "lossless"),
        ({"enabled": False}, "off"),
    ],
)
def test_demand_follows_the_configuration(denoise: dict[str, object], expected: str) -> None:
    configuration = config(denoise=denoise, record={"clean": True})
    found = demands_of.demand_of(configuration, facts_of(configuration))
    assert found.denoise == expected
    assert found.clean is (expected != "off")
    assert found.fps == pytest.approx(20)
    assert found.mb_per_s == pytest.approx(20 * 64 * 48 * 2e-6)


def test_a_lossless_source_waits_and_is_denoised_losslessly() -> None:
    facts = facts_of(config())
    prepared = msgspec.structs.replace(facts.prepared, lossless=True, period_ns=0, n_frames=7)
    waiting = CameraFacts(info=facts.info, prepared=prepared)
    found = demands_of.demand_of(config(), waiting)
    assert (found.waits, found.fps, found.denoise, found.n_frames) == (True, 0.0, "lossless", 7)


def test_recordings_are_summed_over_cameras_and_streams() -> None:
    some = [demand(n_frames=10), demand(n_frames=5, clean=True)]
    assert demands_of.recording_bytes(some) == 20 * 2_000_000
    assert demands_of.recording_bytes([demand(), some[0]]) is None
    assert demands_of.recording_bytes_per_s(some) == pytest.approx(600e6)


def test_every_stage_of_every_camera_is_a_process() -> None:
    full = config(record={"clean": True})
    assert demands_of.process_count(full) == 2 * 5 + 1
    bare = config(record={"raw": False}, denoise={"enabled": False}, view={"enabled": False})
    assert demands_of.process_count(bare) == 2 + 1
