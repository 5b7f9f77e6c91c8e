"""A dry run: sums of what would be commanded, and nothing commanded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from plan_kit import PAIR, plan_of, program_of, scope_info, written

from livedenoise import cli
from livedenoise.collect.dry_run import forecast_at, run_dry
from livedenoise.collect.forecast import DeviceTimes, disk_bytes, make_forecast
from livedenoise.collect.forecast_text import forecast_lines, seconds_text
from livedenoise.collect.manifest import create_manifest, encode_record
from livedenoise.collect.records import MANIFEST_NAME, DatasetHeader, FieldRecord
from livedenoise.core.errors import ConfigError
from livedenoise.core.microscope import Exposed, MicroscopeInfo, Position, Setting

SIMULATED = """
[[camera]]
kind = "simulated"
name = "sim"
[camera.sensor]
width_px = 64
height_px = 48
"""
BRACKET = """
order = "bracket"
settle_ms = 100
discard = 2
[sequence]
grid_plan = { rows = 1, columns = 3 }
[high]
exposure_us = 40_000
frames = 4
[low]
exposure_us = [10_000, 5_000]
[dark]
frames = 10
"""


class Watched:
    """A microscope that may be asked and not commanded."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def open(self) -> MicroscopeInfo:
        self.asked.append("open")
        return scope_info()

    def position(self) -> Position:
        self.asked.append("position")
        return Position(x_um=0.0, y_um=0.0, z_um=0.0)

    def close(self) -> None:
        self.asked.append("close")

    def expose(self, exposure_us: int, n_frames: int = 1) -> Iterator[Exposed]:
        raise AssertionError(f"exposed {n_frames} x {exposure_us} us")

    def set_shutter(self, *, is_open: bool) -> None:
        raise AssertionError(f"shutter {is_open}")

    def set_properties(self, settings: Sequence[Setting]) -> None:
        raise AssertionError(f"set {settings}")

    def read_property(self, device: str, name: str) -> str:
        raise AssertionError(f"read {device} {name}")

    def presets(self, group: str) -> tuple[str, ...]:
        raise AssertionError(f"presets of {group}")

    def set_preset(self, group: str, preset: str) -> None:
        raise AssertionError(f"set {group} {preset}")

    def move(self, position: Position) -> None:
        raise AssertionError(f"moved to {position}")

    def autofocus(self, device: str = "", offset_um: float | None = None) -> float:
        raise AssertionError(f"focused {device} {offset_um}")

    def abort(self) -> None:
        raise AssertionError("aborted")


def test_a_dry_run_asks_and_commands_nothing(tmp_path: Path) -> None:
    scope = Watched()
    forecast = forecast_at(scope, plan_of(tmp_path, BRACKET), tmp_path / "a" / "b")
    assert scope.asked == ["open", "position", "close"]
    assert len(forecast.fields) == 3
    assert forecast.disk_free_bytes > 0
    assert not (tmp_path / "a").exists()


def test_a_plan_that_does_not_fit_closes_the_microscope(tmp_path: Path) -> None:
    scope = Watched()
    with pytest.raises(ConfigError, match="shortest exposure"):
        forecast_at(scope, plan_of(tmp_path, PAIR.replace("1_000", "1")), tmp_path / "set")
    assert scope.asked[-1] == "close"


def test_dose_and_frames_are_those_of_the_shots(tmp_path: Path) -> None:
    forecast = make_forecast(program_of(tmp_path, BRACKET), scope_info(), 10**12)
    # Low: 5 (3 frames), 10 (3), after 10 (3), 5 (3); high: 40 (4 + 2 discarded); milliseconds.
    assert {one.low_dose_ms for one in forecast.fields} == {90.0}
    assert {one.high_dose_ms for one in forecast.fields} == {240.0}
    assert forecast.total_dose_ms == pytest.approx(3 * 330.0)
    assert forecast.n_frames == 3 * 18
    assert forecast.n_pairs == 3 * 2
    found = {(one.role, one.level): one for one in forecast.levels}
    assert [(one.role, one.level) for one in forecast.levels] == [
        ("high", 0),
        ("low", 0),
        ("low", 1),
    ]
    low = found["low", 1]
    assert (low.electron_ratio, low.dose_ratio, low.images) == (0.125, 32.0, 2)
    assert low.dose_ms == pytest.approx(30.0)
    assert found["high", 0].dose_ratio == 1.0


def test_light_counts_as_dose(tmp_path: Path) -> None:
    text = (
        "[high]\nexposure_us = 10_000\n[low]\nlight = 0.1\n"
        '[light]\ndevice = "D"\nproperty = "P"\nfull_value = 50\nsettle_ms = 30\n'
    )
    forecast = make_forecast(program_of(tmp_path, text), scope_info(), 10**12)
    assert forecast.low_dose_ms == pytest.approx(1.0)
    assert forecast.high_dose_ms == pytest.approx(10.0)
    assert forecast.time.settling_s == pytest.approx(0.06)
    assert forecast.levels[1].light_value == "5"


def test_time_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    times = DeviceTimes(readout_s=0.001, command_s=0.0, stage_s=0.5, stage_speed_um_per_s=100.0)
    start = Position(x_um=0.0, y_um=0.0)
    program = program_of(tmp_path, BRACKET, start=start)
    spent = make_forecast(program, scope_info(), 10**12, times).time
    assert spent.exposures_s == pytest.approx(3 * 0.33)
    assert spent.readout_s == pytest.approx(3 * 18 * 0.001)
    assert spent.settling_s == pytest.approx(0.3)
    assert spent.stage_s == pytest.approx(3 * 0.5 + 3.0)  # 100 um each: fields at -100, 0, 100
    assert spent.darks_s == pytest.approx(10 * 0.055 + 30 * 0.001)
    assert spent.total_s == pytest.approx(
        sum((spent.exposures_s, spent.readout_s, spent.settling_s, spent.stage_s, spent.darks_s))
    )


def test_the_cameras_own_rate_is_believed(tmp_path: Path) -> None:
    program = program_of(tmp_path, BRACKET)
    told = make_forecast(program, scope_info(max_rate_hz=100.0), 10**12)
    assert told.time.readout_s == pytest.approx(0.54)
    assert "the camera's highest rate" in told.assumptions[0]
    assert "assumed" in make_forecast(program, scope_info(), 10**12).assumptions[0]


def test_disk_counts_means_frames_and_darks(tmp_path: Path) -> None:
    pixels = 100 * 200
    program = program_of(tmp_path, BRACKET)
    # Four low images of 2 bytes, a mean of 4; mean and variance of darks at three exposures.
    assert disk_bytes(program, scope_info()) == pixels * (3 * (4 * 2 + 4) + 3 * 8)
    kept = program_of(tmp_path, "keep_frames = true\n" + BRACKET)
    assert disk_bytes(kept, scope_info()) == pixels * (3 * (4 * 2 + 4 + 4 * 2) + 3 * 8)


def test_too_little_disk_is_said(tmp_path: Path) -> None:
    forecast = make_forecast(program_of(tmp_path, BRACKET), scope_info(), 1000)
    assert any("not enough disk" in note for note in forecast.notes)


def test_a_forecast_reads_in_words(tmp_path: Path) -> None:
    forecast = make_forecast(program_of(tmp_path, BRACKET), scope_info(), 10**12)
    lines = dict(forecast_lines(forecast))
    assert lines["fields"] == "3: 1 train, 1 val, 1 test"
    assert lines["light dose"].startswith("330 ms at full light a field, 990 ms in all: low 270")
    assert "low 270 ms, high 720 ms" in lines["light dose"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (65.4, "1 min 05 s"), (7800, "2 h 10 min"), (59.96, "60.0 s")],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_the_verb_prints_a_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path, SIMULATED, "sim.toml")
    out = tmp_path / "none" / "pairs"
    verb = ["collect", str(config), "--plan", "quick", "--out", str(out), "--dry-run"]
    assert cli.main(verb) == 0
    text = capsys.readouterr().out
    assert "no light, no move, no file" in " ".join(text.split())
    assert "g008" in text
    assert cli.main([*verb, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == 0
    assert found["simulated"] is True
    assert len(found["fields"]) == 9
    assert found["total_s"] == pytest.approx(sum(found["time"].values()))
    assert not out.parent.exists()


def test_a_long_list_of_fields_is_shortened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, SIMULATED, "sim.toml")
    plan = written(tmp_path, PAIR + "[sequence]\ngrid_plan = { rows = 10, columns = 10 }\n")
    verb = [
        "collect",
        str(config),
        "--plan",
        str(plan),
        "--out",
        str(tmp_path / "set"),
        "--dry-run",
    ]
    assert cli.main(verb) == 0
    text = capsys.readouterr().out
    assert "g038" in text
    assert "g039" not in text
    assert "g099" in text


def test_several_cameras_are_refused(tmp_path: Path) -> None:
    two = SIMULATED + SIMULATED.replace('"sim"', '"other"')
    config, plan = written(tmp_path, two, "two.toml"), written(tmp_path, PAIR)
    with pytest.raises(ConfigError, match="drives one camera, not 2: sim, other"):
        run_dry(config, plan, tmp_path)


def test_a_forecast_goes_through_json(tmp_path: Path) -> None:
    forecast = make_forecast(program_of(tmp_path, BRACKET), scope_info(), 10**12)
    assert msgspec.json.decode(msgspec.json.encode(forecast), type=type(forecast)) == forecast


def begun(
    folder: Path, plan_hash: str, settled: dict[int, Literal["done", "retry", "failed"]]
) -> None:
    """Begin a data set at another place than where the stage stands now."""
    header = DatasetHeader(plan_hash=plan_hash, start=Position(x_um=5000.0, y_um=0.0))
    create_manifest(folder, header)
    lines = [
        encode_record(FieldRecord(field=field, attempt=0, status=status, split="train"))
        for field, status in settled.items()
    ]
    with (folder / MANIFEST_NAME).open("ab") as file:
        file.writelines(lines)


def test_a_resumed_forecast_has_what_is_left_around_the_old_start(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, BRACKET)
    whole = forecast_at(Watched(), plan, tmp_path, resume=True)
    assert len(whole.fields) == 3
    begun(tmp_path, plan.plan_hash, {0: "done", 1: "retry"})
    left = forecast_at(Watched(), plan, tmp_path, resume=True)
    assert [(one.field, one.x_um) for one in left.fields] == [(1, 5000.0), (2, 5100.0)]
    assert left.time.darks_s == 0
    assert any("1 of 3 fields are in the data set" in note for note in left.notes)


def test_a_data_set_of_another_plan_is_not_gone_on_with(tmp_path: Path) -> None:
    scope = Watched()
    begun(tmp_path, "0123456789abcdef", {})
    with pytest.raises(ConfigError, match="made with another plan"):
        forecast_at(scope, plan_of(tmp_path, BRACKET), tmp_path, resume=True)
    assert not scope.asked, "refused before the microscope is touched"
