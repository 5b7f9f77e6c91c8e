"""What a calibration is measured from: series of frames, summed up pixel by pixel.

Knows: the form of the data, wherever it comes from. Must not know: cameras, files, measuring.
"""

from __future__ import annotations

import msgspec

from livedenoise.calibrate.measure import LitSeries
from livedenoise.imaging.ptc_moments import PixelSummary

Region = tuple[int, int, int, int]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one exposure and one light, summed up; in the order taken.

    ``light`` is relative, 0 for a dark series, None where nobody said. ``reference_adu`` is the
    mean of a few frames of the reference level taken right after it, None for none, at
    ``time_s`` since the start.
    """

    name: str
    exposure_us: float
    light: float | None
    is_dark: bool
    summary: PixelSummary
    reference_adu: float | None = None
    reference_error_adu: float = 0.0
    time_s: float = 0.0


class CalibrationData(msgspec.Struct, frozen=True, kw_only=True):
    """All series of one camera in one mode.

    Attributes
    ----------
    camera : str
        Name.
    source : str
        Where the frames came from, in words.
    sensor : tuple of int
        (Y, X) of the whole sensor; of the frames where only they are known.
    roi : tuple of int
        (x, y, width, height) that the frames show, in sensor pixels.
    binning : int
        Sensor pixels summed along each axis.
    bit_depth : int
        Valid bits.
    simulated : bool
        Whether light and sensor are computed.
    settings : dict
        What was asked for, as plain data.
    warnings : tuple of str
        What went less well than wished, for people.
    notes : tuple of str
        What was found on the way, for people.
    """

    camera: str
    source: str
    sensor: tuple[int, int]
    roi: Region
    bit_depth: int
    series: tuple[Series, ...]
    binning: int = 1
    simulated: bool = False
    settings: dict[str, object] = {}
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def darks(self) -> dict[float, PixelSummary]:
        """Return the dark series by exposure in microseconds."""
        return {s.exposure_us: s.summary for s in self.series if s.is_dark}

    def lit(self) -> list[LitSeries]:
        """Return the lit series, shortest exposure first."""
        found = [
            LitSeries(exposure_us=s.exposure_us, light=s.light, summary=s.summary)
            for s in self.series
            if not s.is_dark
        ]
        return sorted(found, key=lambda s: (s.exposure_us, s.light or 0.0))
