"""Live quality of a whole run: real stages on a simulated camera whose signal is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from livedenoise.core.status import StreamStatus
from livedenoise.daemon.options import RunOptions
from livedenoise.testing.live import LiveRun, small_config

PHOTONS = 50.0
QUANTUM_EFFICIENCY = 0.8


def flat_camera() -> dict[str, object]:
    """Return a camera on an even field of 50 photons a pixel and frame."""
    return {
        "sensor": {
            "width_px": 64,
            "height_px": 48,
            "line_time_us": 5.0,
            "quantum_efficiency": QUANTUM_EFFICIENCY,
        },
        "scene": {
            "kind": "flat",
            "background_photons_per_s": 0.0,
            "photons_per_s": PHOTONS / 0.005,
        },
    }


def measured(stream: StreamStatus) -> bool:
    quality = stream.quality
    return quality is not None and quality.figures["gain_db"].value is not None


def test_a_run_reports_quality_and_a_picture(tmp_path: Path) -> None:
    config = small_config(
        camera=flat_camera(),
        record={"raw": False},
        view={"sample_hz": 50.0, "window": 40, "preview_px": 32},
    )
    run = LiveRun(config, RunOptions(out=tmp_path))
    try:
        run.until(lambda snapshot: measured(snapshot.streams[0]))
        stream = run.snapshots[-1].streams[0]
    finally:
        run.end()
    quality, preview = stream.quality, stream.preview
    assert quality is not None
    assert preview is not None
    assert quality.constants == "camera"
    assert not quality.motion
    figures = {key: figure.value for key, figure in quality.figures.items()}
    assert figures["photons"] == pytest.approx(PHOTONS, rel=0.02)
    assert figures["signal_e"] == pytest.approx(PHOTONS * QUANTUM_EFFICIENCY, rel=0.02)
    assert figures["noise_ratio"] == pytest.approx(1.0, abs=0.05)
    assert figures["gain_db"] == 0.0, "the identity engine gains nothing"
    assert (preview.height, preview.width) == (32, 32)
    raw, clean = (np.frombuffer(data, np.uint8) for data in (preview.raw, preview.clean))
    np.testing.assert_array_equal(raw, clean)
    assert raw.std() > 10
    view = next(stage for stage in stream.stages if stage.kind == "view")
    assert view.state == "running"


def test_the_view_learns_constants_that_are_estimated_while_running(tmp_path: Path) -> None:
    camera = {
        "estimate_constants": True,
        "pool_frames": 64,
        "sensor": {"width_px": 256, "height_px": 256, "line_time_us": 5.0},
        "scene": {"photons_per_s": 40_000.0, "motion_px_per_s": 0.0},
    }
    config = small_config(
        camera=camera,
        denoise={"engine": "identity", "estimate_frames": 8},
        record={"raw": False},
        ring={"memory_mb": 32},
        view={"sample_hz": 50.0, "window": 20, "preview_px": 32},
    )
    run = LiveRun(config, RunOptions(out=tmp_path))
    try:
        run.until(
            lambda s: (
                s.streams[0].quality is not None and s.streams[0].quality.constants == "estimated"
            )
        )
    finally:
        run.end()
