"""What a calibration is measured from: series of frames, summed up pixel by pixel.

Knows: the form of the data, wherever it comes from. Must not know: cameras, files, measuring.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from livedenoise.calibrate.measure import LitSeries
from livedenoise.imaging.ptc_moments import PixelSummary

Region = tuple[int, int, int, int]
_FEW = 12


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one exposure and one light, summed up; in the order taken.

    ``light`` is relative, 0 for a dark series, None where nobody said. ``reference_adu`` is the
    mean of the reference level at the middle of the series, from a few frames before and after
    it; None for none. ``time_s`` since the start is when it was over. ``light_error`` is the
    relative standard error of ``light`` where references followed it.
    """

    name: str
    exposure_us: float
    light: float | None
    is_dark: bool
    summary: PixelSummary
    reference_adu: float | None = None
    reference_error_adu: float = 0.0
    time_s: float = 0.0
    light_error: float | None = None


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
    dark_files, lit_files : tuple of str
        Which files were taken as dark and as lit; empty for a camera.
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
    dark_files: tuple[str, ...] = ()
    lit_files: tuple[str, ...] = ()

    @property
    def has_darks(self) -> bool:
        """Return whether there is a dark series."""
        return any(series.is_dark for series in self.series)

    def darks(self) -> dict[float, PixelSummary]:
        """Return the dark series by exposure in microseconds."""
        return {s.exposure_us: s.summary for s in self.series if s.is_dark}

    def lit(self) -> list[LitSeries]:
        """Return the lit series, shortest exposure first."""
        found = [
            LitSeries(
                exposure_us=s.exposure_us,
                light=s.light,
                summary=s.summary,
                light_error=s.light_error,
            )
            for s in self.series
            if not s.is_dark
        ]
        return sorted(found, key=lambda s: (s.exposure_us, s.light or 0.0))


def taken_as(dark_files: Sequence[str], lit_files: Sequence[str]) -> list[str]:
    """Return what was taken as dark and as lit, one line each; nothing for a camera."""
    if not dark_files and not lit_files:
        return []
    return [f"taken as dark: {_listed(dark_files)}", f"taken as lit: {_listed(lit_files)}"]


def _listed(names: Sequence[str]) -> str:
    """Return names in one line: all of a few, else the first, the last and their number."""
    if not names:
        return "nothing"
    if len(names) <= _FEW:
        return ", ".join(names)
    return f"{', '.join(names[: _FEW - 2])}, ... {names[-1]} ({len(names)} in all)"
