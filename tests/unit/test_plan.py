"""What the stages are told: rings within the memory allowed."""

from __future__ import annotations

import pytest

from livedenoise.core.camera import CameraInfo, Prepared
from livedenoise.core.errors import BusError
from livedenoise.daemon.plan import CameraFacts, clean_ring, raw_ring
from livedenoise.testing.live import small_config

MIB = 1 << 20


def facts(megabytes: int) -> CameraFacts:
    """Return a camera whose frames have so many MiB."""
    shape = (megabytes * 1024, 512)
    info = CameraInfo(name="x", kind="simulated", sensor=shape, dtype="<u2", bit_depth=16)
    prepared = Prepared(
        shape=shape,
        max_shape=shape,
        dtype="<u2",
        bit_depth=16,
        period_ns=1,
        exposure_us=1,
        roi=(0, 0, shape[1], shape[0]),
    )
    return CameraFacts(info=info, prepared=prepared)


@pytest.mark.parametrize("frame_mb", [1, 2, 4, 8, 16])
def test_no_ring_is_larger_than_allowed(frame_mb: int) -> None:
    config = small_config(ring={"memory_mb": 64, "max_slots": 64})
    for ring in (raw_ring(config, facts(frame_mb)), clean_ring(config, facts(frame_mb))):
        assert ring.n_slots >= 4
        assert ring.n_slots * ring.slot_bytes <= 64 * MIB


def test_four_frames_have_to_fit() -> None:
    config = small_config(ring={"memory_mb": 64, "max_slots": 64})
    with pytest.raises(BusError, match="at least 4"):
        raw_ring(config, facts(17))
