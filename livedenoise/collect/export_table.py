"""``pairs.csv``: one line for each exported pair, with what its manifest line says.

Knows: columns. Must not know: images.
"""

from __future__ import annotations

import csv
from pathlib import Path

from livedenoise.collect.dataset_reader import DatasetPair
from livedenoise.collect.records import DatasetHeader
from livedenoise.core.closing import Closing

Value = str | int | float | None


class PairsTable(Closing):
    """Writes the table row by row; a context manager.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, header: DatasetHeader) -> None:
        self._header = header
        self._file = path.open("x", encoding="utf-8", newline="")
        self._writer: csv.DictWriter[str] | None = None

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def add(
        self,
        name: str,
        pair: DatasetPair,
        region: tuple[slice, slice],
        *,
        moved: bool,
        scale: float,
    ) -> None:
        """Write the row of a pair.

        Parameters
        ----------
        name : str
            File name of both images.
        region : tuple of slice
            (Y, X) part of the images as taken.
        moved : bool
            Whether high was moved onto low.
        scale : float
            By which high was multiplied, above offset.
        """
        y, x = region
        row = {
            "file": name,
            **_place(pair),
            **_exposures(pair),
            **_measured(pair),
            "moved": int(moved),
            "crop_y_px": y.start,
            "crop_x_px": x.start,
            "height_px": y.stop - y.start,
            "width_px": x.stop - x.start,
            "high_scale": scale,
            **self._camera(),
            "source": pair.file,
            "source_low_series": pair.low_shot.series,
            "source_high_series": pair.high_shot.series,
        }
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row), lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow(row)

    def _camera(self) -> dict[str, Value]:
        header = self._header
        return {
            "gain_e_per_adu": header.gain_e_per_adu,
            "offset_adu": header.offset_adu,
            "read_noise_e": header.read_noise_e,
            "constants_source": header.constants_source,
            "calibration": header.calibration,
            "pixel_size_um": header.pixel_size_um,
            "simulated": int(header.simulated),
        }


def _place(pair: DatasetPair) -> dict[str, Value]:
    site = pair.site
    return {
        "split": pair.split,
        "field": pair.field,
        "attempt": pair.attempt,
        "position": site.name,
        "channel": site.channel,
        "x_um": site.x_um,
        "y_um": site.y_um,
        "z_um": site.z_um if pair.low_shot.z_um is None else pair.low_shot.z_um,
    }


def _exposures(pair: DatasetPair) -> dict[str, Value]:
    low, high = pair.low_shot.shot, pair.high_shot.shot
    return {
        "level": low.level,
        "repeat": low.repeat,
        "low_exposure_us": low.exposure_us,
        "low_light": low.light,
        "low_frames": low.frames,
        "high_exposure_us": high.exposure_us,
        "high_light": high.light,
        "high_frames": high.frames,
        "dose_ratio": pair.dose_ratio,
    }


def _measured(pair: DatasetPair) -> dict[str, Value]:
    verdict = pair.verdict
    return {
        "ratio": verdict.ratio,
        "expected_ratio": verdict.expected_ratio,
        "shift_y_px": verdict.shift_px[0],
        "shift_x_px": verdict.shift_px[1],
        "shift_error_px": verdict.shift_error_px,
        "low_electrons": verdict.low_electrons,
        "high_electrons": verdict.high_electrons,
        "psnr_db": verdict.psnr_db,
        "low_saturated_fraction": pair.low_shot.saturated_fraction,
        "high_saturated_fraction": pair.high_shot.saturated_fraction,
    }
