"""The sensor section of a simulated camera: every constant of the noise model with its unit.

``imaging.sensor`` states the physics.
"""

from __future__ import annotations

from pydantic import Field

from livedenoise.core.config_base import Fraction, NotNegative, Positive, Strict


class SensorConfig(Strict):
    """Sensor of a simulated camera; units in the names, physics in ``imaging.sensor``."""

    width_px: int = Field(default=512, ge=1, le=16384, description="columns")
    height_px: int = Field(default=512, ge=1, le=16384, description="rows")
    bit_depth: int = Field(default=16, ge=8, le=16, description="8 gives 8-bit frames")
    gain_e_per_adu: Positive = Field(default=0.46, description="electrons per count")
    offset_adu: NotNegative = Field(default=100.0, description="mean counts without light")
    offset_spread_adu: NotNegative = Field(default=0.3, description="sd of the offset map (DSNU)")
    gain_spread: NotNegative = Field(
        default=0.005, description="relative sd of the gain map (PRNU)"
    )
    read_noise_e: NotNegative = Field(default=1.4, description="median over the pixels")
    read_noise_log_sd: NotNegative = Field(default=0.23, description="sd of ln(read noise)")
    telegraph_fraction: Fraction = Field(
        default=0.015, description="pixels with random-telegraph noise"
    )
    telegraph_factor: float = Field(default=2.6, ge=1, description="their noise over the median")
    dark_current_e_per_s: NotNegative = Field(default=0.06, description="median over the pixels")
    dark_current_log_sd: NotNegative = Field(default=0.3, description="sd of ln(dark current)")
    hot_pixel_fraction: Fraction = Field(default=1e-4, description="pixels that are hot")
    hot_pixel_factor: float = Field(
        default=100.0, ge=1, description="their dark current over the median"
    )
    quantum_efficiency: float = Field(default=0.82, gt=0, le=1, description="electrons per photon")
    full_well_e: Positive = Field(default=30000.0, description="electrons a pixel can hold")
    em_gain: float = Field(default=1.0, ge=1, description="above 1: an EMCCD")
    line_time_us: NotNegative = Field(default=4.88, description="readout time of one row")
    buffer_frames: int = Field(default=32, ge=1, description="frames the camera itself can hold")
