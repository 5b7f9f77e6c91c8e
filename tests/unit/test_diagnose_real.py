"""Recordings of real microscopes (absent on a user's machine)."""

from pathlib import Path

import diagnose_kit as kit
import pytest

from livedenoise.diagnose.run import diagnose

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FMD = DATA / "fmd_confocal_bpae_b_fov1"
LYSOSOMES = DATA / "lysosome_confocal"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="real data are not here")


def test_repeats_of_a_confocal_field_are_white_and_drift() -> None:
    found = diagnose(FMD / "raw.tif")
    for name in ("lag1_x", "lag1_y", "lag1_diagonal", "lag2_x", "lag2_y", "lag1_time"):
        assert abs(getattr(found, name).value) < 0.05, name
    assert found.lag1_x.value == pytest.approx(0.044, abs=0.005)
    assert found.gain.value == pytest.approx(0.27, abs=0.01)
    assert found.drift.value == pytest.approx(1.51, abs=0.1)
    assert found.bleaching.value == pytest.approx(0.056, abs=0.015)
    assert found.moving.value == 0.0
    assert found.suspicions == ()
    assert kit.method(found, "n2v").fit == "fits"
    assert "drifts" in kit.method(found, "n2n").why


def test_a_running_mean_of_16_is_seen_as_one() -> None:
    found = diagnose(FMD / "avg16.tif")
    assert found.lag1_time.value is not None
    assert found.lag1_time.value > 0.6
    assert found.lag1_time.note.startswith("at least")
    assert any("running average" in line for line in found.suspicions)
    assert kit.method(found, "n2n").fit == "does not fit"
    assert kit.method(found, "n2v").fit == "fits"
    assert found.moving.value is not None
    assert found.moving.value < 0.15


@pytest.mark.parametrize("number", [1, 5, 9])
def test_moving_lysosomes_are_not_called_correlated(number: int) -> None:
    found = diagnose(LYSOSOMES / f"{number}.tif")
    assert found.moving.value is not None
    assert found.moving.value > 0.3
    assert found.suspicions == ()
    assert not any("correlated" in line for line in found.summary)
    assert kit.method(found, "n2v").fit != "does not fit"
    assert kit.method(found, "n2n").fit == "with care"
    for fine in (found.fine_lag1_x, found.fine_lag1_y):
        assert fine.value is not None
        assert abs(fine.value) < 0.15
    assert abs(found.lag1_time.value or 1.0) < 0.1
    assert found.bleaching.value is not None
    assert 0.1 < found.bleaching.value < 0.5
    assert found.drift.value is None or found.drift.value < 5.0
