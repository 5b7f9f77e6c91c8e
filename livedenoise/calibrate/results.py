"""What a calibration found: every number with its unit, its standard error and how it is known.

Knows: the form of the results. Must not know: how anything is measured, files, cameras.

A quantity that could not be measured has no value and says why: no default ever takes its place.
What is known to be biased says so (``measured, biased``: the bias is in its error).
What was taken from elsewhere says so: ``given`` by the user or the camera, ``assumed`` for want of
a measurement (offset and read noise of repeats without a dark frame).
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from livedenoise.core.constants import CameraMaps

Status = Literal["measured", "measured, biased", "given", "assumed", "not measurable"]
SaturationKind = Literal["converter", "full well", ""]
Index = npt.NDArray[np.int64]
FloatImage = npt.NDArray[np.float32]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One number.

    Attributes
    ----------
    value : float or None
        None exactly where ``status`` is ``not measurable``.
    error : float or None
        Standard error (one sigma, statistical); None where there is none to state.
    unit : str
        As people write it: ``e/ADU``, ``ADU``, ``e``, ``e/s``, ``%``, or empty.
    status : str
        How the number is known.
    text : str
        From what it was measured, who gave it, what was assumed, or why it cannot be measured.
    """

    value: float | None
    error: float | None = None
    unit: str = ""
    status: Status = "measured"
    text: str = ""

    def __post_init__(self) -> None:
        """Refuse a value that claims to be missing, or a missing one that claims to be there."""
        if (self.value is None) != (self.status == "not measurable"):
            raise ValueError(f"status {self.status!r} does not go with value {self.value!r}")
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError(f"a value must be finite, got {self.value!r}")

    @classmethod
    def missing(cls, reason: str, unit: str = "") -> Value:
        """Return the value of something that could not be measured."""
        return cls(value=None, unit=unit, status="not measurable", text=reason)


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One series of frames at one exposure and one light level (a dark series has light 0).

    Attributes
    ----------
    exposure_us : float
        Exposure.
    light : float or None
        Relative light level; None where nobody said.
    mean_adu, mean_error_adu : float
        Mean over pixels and frames, and its standard error (from the frame means).
    variance_adu2 : float
        Mean over pixels of the temporal variance, from frame differences.
    n_frames : int
        Frames.
    saturated_fraction, zero_fraction : float
        Samples at the highest count of the converter, and at zero.
    drift_fraction : float
        Change of the mean from the first to the last frame (straight line) over the mean.
    flicker_fraction : float
        Standard deviation of the frame means about that line, over the mean.
    lag1_x, lag1_y : float
        Correlation of the noise of neighbouring pixels (frame differences).
    excluded : str
        Why the series took no part in the photon transfer fit; empty if it did.
    """

    exposure_us: float
    light: float | None
    mean_adu: float
    mean_error_adu: float
    variance_adu2: float
    n_frames: int
    saturated_fraction: float
    zero_fraction: float
    drift_fraction: float
    flicker_fraction: float
    lag1_x: float
    lag1_y: float
    excluded: str = ""


class TransferPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A point of the photon transfer curve: pixels of about the same level.

    ``signal_adu`` and ``variance_adu2`` have the dark values subtracted where there are darks;
    ``level`` numbers the series of ``CalibrationResult.levels``.
    """

    signal_adu: float
    variance_adu2: float
    variance_error_adu2: float
    n_pixels: int
    level: int
    used: bool


class PhotonTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """The straight line variance = slope * signal + intercept, and how well it fits.

    Attributes
    ----------
    slope_adu, slope_error_adu : float
        Counts of variance per count of signal: excess noise factor / gain_e_per_adu.
    intercept_adu2, intercept_error_adu2 : float
        0 and 0 where darks were subtracted: the line then goes through zero.
    dark_subtracted : bool
        Whether darks were subtracted.
    signal_limit_adu : float
        Upper end of the fitted range (as ``TransferPoint.signal_adu``).
    chi2, degrees_of_freedom : float
        Of the used points about the line.
    r2 : float
        Part of the weighted variation of the used points that the line explains.
    significant : bool
        Whether the variance follows the signal (else the model is ``gaussian``).
    n_blocks, n_rejected : int
        Blocks of pixels fitted, and rejected as too noisy (motion, telegraph noise).
    points : tuple of TransferPoint
        For the plot, in order of level and signal; the unused ones too.
    """

    slope_adu: float
    slope_error_adu: float
    intercept_adu2: float
    intercept_error_adu2: float
    dark_subtracted: bool
    signal_limit_adu: float
    chi2: float
    degrees_of_freedom: int
    r2: float
    significant: bool
    n_blocks: int
    n_rejected: int
    points: tuple[TransferPoint, ...] = ()


class LinearityPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One light level: dose = exposure x light, signal above offset, deviation from the line."""

    dose: float
    signal_adu: float
    deviation_percent: float
    error_percent: float
    used: bool


class Linearity(msgspec.Struct, frozen=True, kw_only=True):
    """Mean signal against exposure x light (EMVA Standard 1288).

    ``error_percent`` is EMVA's linearity error: mean absolute relative deviation of the used
    levels (5 to 95 % of saturation) from the line; ``largest_percent`` the largest one.
    """

    error_percent: Value
    largest_percent: Value
    points: tuple[LinearityPoint, ...] = ()


class Defects(msgspec.Struct, frozen=True, kw_only=True):
    """Pixels out of the ordinary, as flat indices (row * width + column), ascending.

    ``None`` where it could not be told, with the reason in ``*_text``; the text of the others
    says by which test and at which false alarm rate.
    """

    hot_index: Index | None
    telegraph_index: Index | None
    dead_index: Index | None
    hot_text: str = ""
    telegraph_text: str = ""
    dead_text: str = ""


class MapErrors(msgspec.Struct, frozen=True, kw_only=True):
    """Standard errors of the maps, float32 (Y, X); ``gain_shrinkage`` is the weight (0 to 1) of.

    the pixel's own measurement against the common gain (empirical Bayes).
    """

    offset_adu: FloatImage
    gain_e_per_adu: FloatImage
    variance_adu2: FloatImage
    gain_shrinkage: FloatImage


class CalibrationResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a calibration found.

    Attributes
    ----------
    sensor : tuple of int
        (Y, X) of the frames.
    bit_depth : int
        Valid bits.
    model : str
        ``poisson_gaussian``, or ``gaussian`` where the variance does not follow the signal: then
        the gain is not measurable and there are no constants to be had.
    gain_e_per_adu, offset_adu, read_noise_e, read_noise_median_e : Value
        Scalar constants; ``read_noise_e`` is the root mean square over pixels, rounding included.
    excess_noise_factor : Value
        1 without electron multiplication.
    dark_current_e_per_s : Value
        Mean over the pixels that are not hot.
    saturation_adu, full_well_e : Value
        Where the signal stops growing, counts; ``saturation_kind`` says what ends it.
    prnu_percent, dsnu_e : Value
        Spread of the response and of the offset over the pixels.
    lag1_x, lag1_y, correlation_factor : Value
        Correlation of neighbouring pixels' noise; the gain is too high by about the factor.
    transfer : PhotonTransfer or None
        The fit; None where there was no light level to fit.
    maps : CameraMaps or None
        Per-pixel maps; ``maps_text`` says how they were made, or why there are none.
    warnings : tuple of str
        Limits of this calibration, for people.
    """

    sensor: tuple[int, int]
    bit_depth: int
    n_frames: int
    n_dark_frames: int
    model: Literal["poisson_gaussian", "gaussian"]
    gain_e_per_adu: Value
    offset_adu: Value
    read_noise_e: Value
    read_noise_median_e: Value
    excess_noise_factor: Value
    dark_current_e_per_s: Value
    saturation_adu: Value
    saturation_kind: SaturationKind
    full_well_e: Value
    prnu_percent: Value
    dsnu_e: Value
    lag1_x: Value
    lag1_y: Value
    correlation_factor: Value
    linearity: Linearity
    defects: Defects
    transfer: PhotonTransfer | None
    dark_levels: tuple[Level, ...]
    levels: tuple[Level, ...]
    maps: CameraMaps | None
    map_errors: MapErrors | None
    maps_text: str
    warnings: tuple[str, ...]

    def values(self) -> dict[str, Value]:
        """Return every scalar quantity by its name, in the order of a report."""
        found = {
            name: value
            for name in self.__struct_fields__
            if isinstance(value := getattr(self, name), Value)
        }
        found["linearity_error_percent"] = self.linearity.error_percent
        found["linearity_largest_percent"] = self.linearity.largest_percent
        return found


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known beforehand; None or False: nothing said.

    Attributes
    ----------
    offset_adu : float, optional
        Counts without light; used only where there is no dark series.
    excess_noise_factor : float, optional
        Of an electron-multiplying camera at its present gain; 2 at a high gain.
    conversion_gain_e_per_adu, em_gain : float, optional
        Gain without multiplication, and the multiplication: both together let the excess noise
        factor be measured.
    saturation_adu : float, optional
        Counts at which the camera is known to saturate, below the converter's highest.
    flat_field : bool
        The light levels show even light and no sample: the response of each pixel to it then
        tells its gain far better than its noise does.
    """

    offset_adu: float | None = None
    excess_noise_factor: float | None = None
    conversion_gain_e_per_adu: float | None = None
    em_gain: float | None = None
    saturation_adu: float | None = None
    flat_field: bool = False
