"""Judging what was read of Micro-Manager and its camera: pure, with a camera made up here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from livedenoise.core.config import parse_config
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager import judging
from livedenoise.micromanager.look import Look

LOOK = Look(
    camera="Cam",
    library="PVCAM",
    device="Camera-1",
    description="PVCAM camera",
    shape=(2400, 2400),
    roi=(0, 0, 2400, 2400),
    sensor=(2400, 2400),
    bytes_per_pixel=2,
    components=1,
    bit_depth=12,
    pixel_type="12bit",
    exposure_ms=5.0,
    exposure_limits_ms=None,
    binning="1x1",
    binnings=("1x1", "2x2"),
    sequence_exposures=0,
    channels=1,
    buffer_mb=1024,
    running=False,
    readout_s=0.008475,
    own_gain_e_per_adu=0.0,
    own_offset_adu=None,
)


def configured(**camera: Any) -> MicroManagerCameraConfig:
    section = {"kind": "micromanager", "name": "mm"} | camera
    found = parse_config({"camera": [section]}, "test").camera[0]
    assert isinstance(found, MicroManagerCameraConfig)
    return found


def looking(**changes: Any) -> Look:
    return msgspec.structs.replace(LOOK, **changes)


def test_a_buffer_below_two_seconds_names_the_size_that_is_enough() -> None:
    found = judging.judge_buffer(configured(), looking(buffer_mb=1024), 100.0)
    # 1024 MiB hold 93 frames of 11.52 MB.
    assert found.ok == "warning"
    assert "93 frames, 0.93 s at 100 fps" in found.text
    assert "buffer_mb = 2240" in found.mend
    enough = judging.judge_buffer(configured(), looking(buffer_mb=2240), 100.0)
    assert enough.ok == "ok"
    tap = configured(backend="java", mode="tap")
    assert "Tools > Options" in judging.judge_buffer(tap, LOOK, 100.0).mend
    assert "not known" in judging.judge_buffer(tap, LOOK, 0.0).text


def test_live_means_other_things_to_own_and_tap() -> None:
    own, tap = configured(), configured(backend="java", mode="tap")
    running, idle = looking(running=True), looking(running=False)
    assert judging.judge_live(own, idle, "12.5.1").ok == "ok"
    assert judging.judge_live(own, running, "12.5.1").ok == "problem"
    assert judging.judge_live(tap, idle, "12.5.1").ok == "warning"
    assert judging.judge_live(tap, running, "12.5.1").text == "runs, and is only watched"
    assert "counts frames anew" in judging.judge_live(tap, running, "11.10.0").text
    assert "counts frames anew" in judging.judge_live(tap, running, "12.2.2").text
    # As the tap itself does with a version it cannot read.
    assert "of unknown version counts" in judging.judge_live(tap, running, "").text


def test_the_rate_is_no_faster_than_exposure_and_readout() -> None:
    config = configured()
    assert judging.rate_hz(config, LOOK) == pytest.approx(1 / 0.008475)
    assert judging.rate_hz(config, looking(exposure_ms=20.0)) == pytest.approx(50.0)
    assert judging.rate_hz(configured(exposure_us=40_000), LOOK) == pytest.approx(25.0)
    events = configured(event=[{"exposure_us": 1000}, {"exposure_us": 50_000}])
    assert judging.rate_hz(events, LOOK) == pytest.approx(20.0)
    assert judging.rate_hz(config, looking(exposure_ms=0.0, readout_s=0.0)) == 0.0


def test_a_period_shorter_than_the_readout_is_a_warning() -> None:
    config = configured()
    slow = judging.judge_readout(config, LOOK, 200.0)
    assert slow is not None
    assert slow.ok == "warning"
    assert "every 5 ms" in slow.text
    assert "8.475 ms" in slow.text
    assert "rate_hz = 118 or less" in slow.mend
    good = judging.judge_readout(config, LOOK, 118.0)
    assert good is not None
    assert good.ok == "ok"
    assert judging.judge_readout(config, looking(readout_s=0.0), 200.0) is None


@pytest.mark.parametrize(
    ("camera", "mend"),
    [
        ({"backend": "java"}, "image_saved_fn"),
        ({"backend": "java", "mode": "tap"}, 'backend = "python"'),
        ({}, "camera.roi"),
    ],
)
def test_a_way_that_cannot_keep_up_names_the_mend(camera: dict[str, Any], mend: str) -> None:
    config = configured(**camera)
    slow = judging.judge_path(config, LOOK, 80.0, 300.0, "measured")
    assert slow.ok == "warning"
    assert "ceiling 300 MB/s" in slow.text
    assert "the camera delivers 921.6 MB/s (80 fps)" in slow.text
    assert mend in slow.mend
    # A tenth is kept in hand.
    assert judging.judge_path(config, LOOK, 80.0, 950.0, "measured").ok == "warning"
    assert judging.judge_path(config, LOOK, 80.0, 1100.0, "measured").ok == "ok"
    assert "not known" in judging.judge_path(config, LOOK, 0.0, 300.0, "measured").text


def test_a_port_of_another_version_or_slow_is_a_warning() -> None:
    assert judging.judge_port("mm", "127.0.0.1:4827", "5.1.0", 1.2).ok == "ok"
    other = judging.judge_port("mm", "127.0.0.1:4827", "5.2.0", 1.2)
    assert other.ok == "warning"
    assert "5.1.0 is expected" in other.text
    slow = judging.judge_port("mm", "127.0.0.1:4827", "5.1.0", 20.0)
    assert slow.ok == "warning"
    assert "20 ms a call" in slow.text


def test_what_the_camera_says_of_its_gain_is_compared() -> None:
    told = looking(own_gain_e_per_adu=0.24, own_offset_adu=100.0)
    assert judging.judge_own_constants(configured(), LOOK) is None
    given = {"gain_e_per_adu": 0.24, "offset_adu": 100.0, "read_noise_e": 1.6}
    same = judging.judge_own_constants(configured(constants=given), told)
    other = judging.judge_own_constants(configured(constants=given | {"offset_adu": 200.0}), told)
    none = judging.judge_own_constants(configured(), told)
    assert same is not None
    assert other is not None
    assert none is not None
    assert (same.ok, other.ok, none.ok) == ("ok", "warning", "warning")
    assert "gain_e_per_adu = 0.24, offset_adu = 100," in other.mend
    without = judging.judge_own_constants(configured(), looking(own_gain_e_per_adu=0.46))
    assert without is not None
    assert without.text == "the camera says 0.46 e-/count"
    assert "offset_adu = ..." in without.mend
