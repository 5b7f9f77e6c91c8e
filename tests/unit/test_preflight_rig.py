"""Judging cameras, constants and engines; and how the report looks."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.check_facts import Ceiling, CheckReport, Finding, Verdict
from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import EngineInfo
from livedenoise.core.errors import CameraError, ConfigError
from livedenoise.daemon.plan import CameraFacts
from livedenoise.daemon.preflight import rig
from livedenoise.daemon.preflight.demand import Demand
from livedenoise.daemon.preflight.measure_engine import enough
from livedenoise.view.check_report import rate_text, render_report

CONSTANTS = CameraConstants(gain_e_per_adu=0.46, offset_adu=100, read_noise_e=1.4, source="camera")


def facts(period_ns: int = 10_000_000, *, lossless: bool = False) -> CameraFacts:
    info = CameraInfo(name="cam", kind="simulated", sensor=(96, 128), dtype="<u2", bit_depth=12)
    prepared = Prepared(
        shape=(48, 64),
        max_shape=(48, 64),
        dtype="<u2",
        bit_depth=12,
        period_ns=period_ns,
        exposure_us=1000,
        roi=(8, 16, 64, 48),
        lossless=lossless,
    )
    return CameraFacts(info=info, prepared=prepared)


def demand(fps: float = 100.0) -> Demand:
    return Demand(
        camera="cam",
        shape=(48, 64),
        dtype="<u2",
        fps=fps,
        waits=False,
        denoise="latest",
        raw=True,
        clean=False,
    )


def test_a_camera_says_what_it_will_deliver() -> None:
    found = rig.judge_camera(facts().info, facts().prepared, demand())
    for part in ("128x96", "64x48", "(8, 16)", "12 bits", "100 fps", "0.6144 MB/s", "10 ms"):
        assert part in found.text
    waits = rig.judge_camera(facts().info, facts(0, lossless=True).prepared, demand(0.0))
    assert "as fast as frames are taken" in waits.text
    unknown = rig.judge_camera(facts().info, facts(0).prepared, demand(0.0))
    assert "not known" in unknown.text


def test_a_camera_that_fails_always_has_a_mend() -> None:
    assert rig.judge_failure("cam", CameraError("gone", "plug it in")).mend == "plug it in"
    silent = rig.judge_failure("cam", CameraError("gone"))
    assert silent.ok == "problem"
    assert "switched on" in silent.mend
    assert "configuration" in rig.judge_failure("cam", ConfigError("no such file")).mend


def test_constants_are_judged_by_where_they_come_from() -> None:
    known = rig.judge_constants("cam", CONSTANTS, 16)
    assert (known.ok, "0.46 e-/count" in known.text) == ("ok", True)
    unknown = rig.judge_constants("cam", None, 16)
    assert (unknown.ok, "first 16 frames" in unknown.text) == ("warning", True)
    guess = CameraConstants(gain_e_per_adu=1, offset_adu=0, read_noise_e=1, source="estimated")
    assert rig.judge_constants("cam", guess, 16).ok == "warning"
    flat = CameraConstants(gain_e_per_adu=1, offset_adu=0, read_noise_e=1, model="gaussian")
    assert "not meant literally" in rig.judge_constants("cam", flat, 16).text


def test_a_calibration_of_other_bits_is_a_warning() -> None:
    assert rig.judge_model_bits("cam", 12, 12) is None
    differs = rig.judge_model_bits("cam", 16, 12)
    assert differs is not None
    assert differs.ok == "warning"


@pytest.mark.parametrize(
    ("asked", "reasons", "ok", "part"),
    [
        ("auto", [("a", None), ("b", None)], "ok", "b could serve too"),
        ("auto", [("a", "missing"), ("b", None)], "warning", "not a: missing"),
        ("auto", [("a", None), ("b", "missing")], "ok", "a, model m"),
        ("auto", [("a", "missing"), ("b", "too big")], "problem", "b: too big"),
        ("identity", [("identity", None)], "warning", "nothing is denoised"),
        ("a", [("a", None)], "ok", "a, model m"),
    ],
)
def test_the_engine_is_named_with_the_reasons_against_others(
    asked: str, reasons: list[tuple[str, str | None]], ok: str, part: str
) -> None:
    found = rig.judge_engine("cam", asked, reasons, "m")
    assert found.ok == ok
    assert part in found.text
    assert bool(found.mend) == (ok == "problem")


def test_an_engine_that_opened_tells_its_notes() -> None:
    info = EngineInfo(
        engine="e",
        version="1",
        precision="fp32",
        device="CPU",
        model="m",
        model_hash="abc",
        in_flight=1,
        open_ms=12.0,
    )
    assert rig.judge_opened_engine("cam", info).ok == "ok"
    noted = EngineInfo(**{f: getattr(info, f) for f in info.__struct_fields__} | {"notes": ("n",)})
    assert rig.judge_opened_engine("cam", noted).ok == "warning"


def shown(report: CheckReport, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(render_report(report))
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue().splitlines()


def report(*, quick: bool = False) -> CheckReport:
    long = "a text that is much longer than what fits on one line of a small terminal, " * 2
    findings = (
        Finding(group="cameras", name="cam", ok="ok", text=long),
        Finding(group="disk", name="folder", ok="problem", text="full", mend="mend it"),
        Finding(group="machine", name="clock", ok="warning", text="coarse", mend="tsc"),
    )
    rows = (
        Ceiling(
            camera="cam", stage="messages", fps=12345, mb_per_s=0, needs_fps=100, method="sent"
        ),
        Ceiling(
            camera="cam",
            stage="denoiser",
            fps=40.0,
            mb_per_s=20,
            needs_fps=100,
            method="median of 20 frames",
            limits=True,
        ),
    )
    verdicts = (Verdict(camera="cam", ok="warning", text="will skip", mend="smaller"),)
    return CheckReport(
        config="rig",
        exit_code=2,
        quick=quick,
        findings=findings,
        ceilings=() if quick else rows,
        verdicts=() if quick else verdicts,
    )


def test_problems_come_first_with_their_mend() -> None:
    lines = shown(report())
    assert lines[0].startswith("problems")
    assert "full" in lines[1]
    assert "-> mend it" in lines[2]
    assert lines[-1].startswith("1 problem, 2 warnings")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_report_fits_the_terminal(width: int) -> None:
    assert max(map(len, shown(report(), width))) <= width


def test_the_limiting_row_is_marked_and_messages_have_no_pixels() -> None:
    lines = shown(report())
    marked = [line for line in lines if "<- limits" in line]
    assert len(marked) == 1
    assert marked[0].split()[:4] == ["denoiser", "40", "20", "100"]
    assert next(line for line in lines if line.startswith("messages")).split()[1:3] == ["12k", "-"]


def test_quick_says_that_nothing_was_measured() -> None:
    assert "--quick" in shown(report(quick=True))[-1]


@pytest.mark.parametrize(
    ("fps", "text"), [(1.084, "1.08"), (38.74, "38.7"), (415.6, "416"), (20_100, "20k")]
)
def test_rates_read_well(fps: float, text: str) -> None:
    assert rate_text(fps) == text


@pytest.mark.parametrize(
    ("times_s", "done"),
    [
        ([], False),
        ([3.9], False),
        ([4.0], True),
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.0, 1.0, 1.0], True),
        ([0.1] * 20, False),
        ([0.1] * 21, True),
        ([0.01] * 100, False),
        ([0.001] * 201, True),
    ],
)
def test_an_engine_is_measured_for_long_enough_and_no_longer(
    times_s: list[float], done: bool
) -> None:
    assert enough(times_s, 4.0) is done
