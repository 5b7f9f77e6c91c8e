"""Every preset loads, reaches the quoted rate at full frame, and can be prepared and run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from livedenoise.acquire.stream_limits import stream_period_ns
from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import SceneConfig
from livedenoise.core.config import MicroManagerCameraConfig, SimulatedCameraConfig, load_config
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import max_count
from livedenoise.hardware import find_config, shipped_configs
from livedenoise.imaging.sensor import sensor_constants
from livedenoise.micromanager.processing_rules import RULES
from livedenoise.testing.simulated_runs import Slots, run_camera

FOLDER = Path(__file__).resolve().parents[2] / "hardware_configs"

# Columns, rows, bits, frames per second, rms read noise in electrons, as quoted in each file.
QUOTED = {
    "orca_flash4_v3": (2048, 2048, 16, 100.0, 1.6),
    "orca_fusion_bt": (2304, 2304, 16, 89.1, 1.6),
    "orca_quest2": (4096, 2304, 16, 120.0, 0.43),
    "kinetix_speed": (3200, 3200, 8, 500.0, 2.0),
    "kinetix_sensitivity": (3200, 3200, 12, 88.0, 1.2),
    "kinetix_dynamic_range": (3200, 3200, 16, 83.0, 1.6),
    "kinetix22": (2400, 2400, 12, 118.0, 1.2),
    "prime_95b": (1200, 1200, 16, 41.0, 1.54),
    "zyla_4_2": (2048, 2048, 16, 100.0, 0.99),
    "sona_4_2b6": (2048, 2048, 12, 74.0, 1.2),
    "ixon_888": (1024, 1024, 16, 26.0, 0.13),
}

# Starting points for rigs and the adapter each is for; then those that need no camera.
RIGS = {
    "hamamatsu_dcam": "HamamatsuHam",
    "teledyne_pvcam": "PVCAM",
    "andor_sdk3": "AndorSDK3",
    "pco": "PCO_Camera",
}
MICROMANAGER = ("micromanager_demo", "micromanager_java", "micromanager_java_tap")


def _camera(stem: str) -> SimulatedCameraConfig:
    camera = load_config(FOLDER / f"{stem}.toml").camera[0]
    assert isinstance(camera, SimulatedCameraConfig)
    return camera


def test_each_camera_of_the_table_has_a_file() -> None:
    files = {path.stem for path in FOLDER.glob("*.toml")}
    assert {*QUOTED, "demo", "two_cameras"} <= files


@pytest.mark.parametrize("stem", QUOTED)
def test_full_frame_rate_and_sensor_are_as_quoted(stem: str) -> None:
    columns, rows, bits, rate_hz, _ = QUOTED[stem]
    camera = _camera(stem)
    assert (camera.sensor.width_px, camera.sensor.height_px) == (columns, rows)
    assert camera.sensor.bit_depth == bits
    period_ns = stream_period_ns(camera, StreamRequest(exposure_us=1), rows)
    assert 1e9 / period_ns == pytest.approx(rate_hz, rel=0.002)
    # The preset's own exposure does not slow it down by more than the datasheet's rounding.
    request = StreamRequest(exposure_us=camera.exposure_us, rate_hz=camera.rate_hz)
    assert 1e9 / stream_period_ns(camera, request, rows) == pytest.approx(rate_hz, rel=0.003)


@pytest.mark.parametrize("stem", QUOTED)
def test_read_noise_over_all_pixels_is_as_quoted(stem: str) -> None:
    constants = sensor_constants(_camera(stem).sensor)
    # Rounding to counts is part of the measured figure: 0.29 counts, large at 8 bits.
    rounding_e2 = constants.gain_e_per_adu**2 / 12
    if constants.excess_noise_factor == 1.0:
        analog_e = (constants.read_noise_e**2 - rounding_e2) ** 0.5
        assert analog_e == pytest.approx(QUOTED[stem][4], rel=0.01)
    else:
        assert constants.read_noise_e == pytest.approx(QUOTED[stem][4], rel=0.01)


def test_kinetix22_rows_set_the_rate_as_its_datasheet_says() -> None:
    camera = _camera("kinetix22")
    period_ns = stream_period_ns(camera, StreamRequest(exposure_us=1000), 512)
    assert 1e9 / period_ns == pytest.approx(551.0, rel=0.005)


@pytest.mark.parametrize("stem", [*QUOTED, "demo"])
def test_a_region_of_each_preset_runs_unsaturated(stem: str) -> None:
    camera = _camera(stem)
    # The same light without structure: rendering a full sensor's scene takes seconds.
    scene = SceneConfig(kind="flat", photons_per_s=camera.scene.photons_per_s)
    camera = camera.model_copy(update={"scene": scene, "pool_frames": 2})
    slots = Slots()
    request = {"exposure_us": camera.exposure_us, "roi": (32, 64, 96, 80), "n_frames": 2}
    frames = run_camera(camera, slots, **request)
    assert [frame.shape for frame in frames] == [(80, 96), (80, 96)]
    constants = sensor_constants(camera.sensor)
    expected_e = scene.photons_per_s * camera.sensor.quantum_efficiency * camera.exposure_us * 1e-6
    mean_e = (slots.pixels[0].mean() - constants.offset_adu) * constants.gain_e_per_adu
    assert mean_e == pytest.approx(expected_e, rel=0.03)
    assert slots.pixels[0].max() < max_count(camera.sensor.bit_depth)


def test_demo_is_low_light_at_fifty_hertz() -> None:
    config = load_config(FOLDER / "demo.toml")
    camera = _camera("demo")
    assert (config.name, config.record.clean, camera.rate_hz) == ("demo", True, 50.0)
    electrons_per_photon_s = camera.sensor.quantum_efficiency * camera.exposure_us * 1e-6
    assert 20 <= camera.scene.photons_per_s * electrons_per_photon_s <= 40
    background_e = camera.scene.background_photons_per_s * electrons_per_photon_s
    assert background_e == pytest.approx(2.0, rel=0.05)


def test_two_cameras_have_two_channels() -> None:
    cameras = load_config(FOLDER / "two_cameras.toml").camera
    simulated = [camera for camera in cameras if isinstance(camera, SimulatedCameraConfig)]
    assert [camera.channel for camera in simulated] == [0, 1]
    assert len({camera.seed for camera in simulated}) == 2


@pytest.mark.parametrize("stem", [*QUOTED, "demo", "two_cameras"])
def test_every_file_describes_itself_and_opens_with_its_sources(stem: str) -> None:
    text = (FOLDER / f"{stem}.toml").read_text(encoding="utf-8")
    assert text.startswith("#")
    assert "ssumed" in text or "assumption" in text
    assert tomllib.loads(text)["description"]
    assert tomllib.loads(text)["name"] == stem.replace("_", "-")


@pytest.mark.parametrize("stem", sorted(path.stem for path in FOLDER.glob("*.toml")))
def test_every_shipped_file_loads_and_says_what_it_is(stem: str) -> None:
    config = load_config(FOLDER / f"{stem}.toml")
    assert config.description
    assert (FOLDER / f"{stem}.toml").read_text(encoding="utf-8").startswith("#")


def _micromanager(stem: str) -> MicroManagerCameraConfig:
    camera = load_config(FOLDER / f"{stem}.toml").camera[0]
    assert isinstance(camera, MicroManagerCameraConfig)
    return camera


@pytest.mark.parametrize("stem", [*RIGS, *MICROMANAGER])
def test_a_micro_manager_file_is_named_after_itself(stem: str) -> None:
    assert load_config(FOLDER / f"{stem}.toml").name == stem.replace("_", "-")


@pytest.mark.parametrize("stem", RIGS)
def test_a_rig_to_start_from_says_that_it_was_not_run_and_where_it_is_from(stem: str) -> None:
    text = (FOLDER / f"{stem}.toml").read_text(encoding="utf-8")
    assert "NOT RUN ON HARDWARE" in text
    assert "mmCoreAndDevices" in text or "dcamprop.h" in text
    camera = _micromanager(stem)
    assert (camera.backend, camera.mode, camera.app_path) == ("python", "own", "auto")
    assert camera.properties


@pytest.mark.parametrize(("stem", "library"), RIGS.items())
def test_a_rig_to_start_from_switches_pixel_processing_off(stem: str, library: str) -> None:
    (properties,) = _micromanager(stem).properties.values()
    switches = 0
    for name, value in properties.items():
        for rule in (rule for rule in RULES if rule.library == library):
            if re.fullmatch(rule.pattern, name):
                assert not rule.in_use(str(value)), (name, value)
                switches += 1
    assert switches >= 1


@pytest.mark.parametrize(
    ("stem", "simulated"),
    [
        ("hamamatsu_dcam", "orca_fusion_bt"),
        ("teledyne_pvcam", "kinetix22"),
        ("andor_sdk3", "zyla_4_2"),
    ],
)
def test_the_constants_of_a_rig_are_those_of_its_simulated_twin(stem: str, simulated: str) -> None:
    constants, twin = _micromanager(stem).constants, _camera(simulated).sensor
    assert constants is not None
    assert constants.gain_e_per_adu == twin.gain_e_per_adu
    assert constants.offset_adu == twin.offset_adu
    # The twin's figure is the median over the pixels; the quoted one is the rms.
    assert constants.read_noise_e == QUOTED[simulated][4]


def test_a_folder_is_not_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    with pytest.raises(ConfigError, match="a folder") as error:
        find_config(str(tmp_path))
    assert "mine.toml" in error.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="a folder") as error:
        find_config(str(tmp_path / "empty"))
    assert "demo" in error.value.hint


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("two-cameras", "two_cameras"),
        ("kinetics_speed", "kinetix_speed"),
        ("hardware_configs/demmo.toml", "hardware_configs/demo.toml"),
        ("Orca-Quest2", "orca_quest2"),
        ("zyla42.toml", "zyla_4_2"),
        ("DEMO", "demo"),
    ],
)
def test_a_misspelt_name_finds_the_nearest(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="no such configuration") as error:
        find_config(name)
    assert f"did you mean {meant}" in error.value.hint
    assert "zyla_4_2" in error.value.hint


def test_a_misspelt_file_finds_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "confocal.toml").write_text("")
    with pytest.raises(ConfigError) as error:
        find_config(str(tmp_path / "confical.toml"))
    assert str(tmp_path / "confocal.toml") in error.value.hint


def test_nothing_like_it_lists_every_shipped_name() -> None:
    with pytest.raises(ConfigError) as error:
        find_config("qqqqqq")
    assert "did you mean" not in error.value.hint
    assert all(name in error.value.hint for name in shipped_configs())


def test_a_shipped_configuration_can_be_printed_to_start_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from livedenoise.cli import main

    assert main(["config", "network"]) == 0
    assert capsys.readouterr().out == (FOLDER / "network.toml").read_text(encoding="utf-8")
    assert main(["config"]) == 0
    listed = capsys.readouterr().out
    assert all(path.stem in listed for path in FOLDER.glob("*.toml"))
    target = tmp_path / "mine.toml"
    assert main(["config", "network", "--out", str(target)]) == 0
    assert target.read_bytes() == (FOLDER / "network.toml").read_bytes()
    assert main(["config", "demo", "--out", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["config", "netwrok"]) == 2
    assert "did you mean network?" in capsys.readouterr().err
