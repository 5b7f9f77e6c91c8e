"""The report of a calibration: verdict, table, pictures.

Knows: what is told, in which order and words. Must not know: measuring, HTML, drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from livedenoise.calibrate.data import CalibrationData, taken_as
from livedenoise.calibrate.drift import reference_series
from livedenoise.calibrate.pictures import (
    dark_current_picture,
    defects_picture,
    drift_picture,
    linearity_picture,
    map_pictures,
    noise_picture,
    transfer_picture,
)
from livedenoise.calibrate.published import PublishedMaps
from livedenoise.calibrate.results import CalibrationResult, Level, Value
from livedenoise.core.constants import CameraConstants
from livedenoise.report.numbers import rounded
from livedenoise.report.page import Page, Picture, Section, Table, Verdict
from livedenoise.report.provenance import provenance_rows

NAMES = {
    "gain_e_per_adu": "gain",
    "offset_adu": "offset",
    "read_noise_e": "read noise, rms",
    "read_noise_median_e": "read noise, median",
    "excess_noise_factor": "excess noise factor",
    "dark_current_e_per_s": "dark current",
    "saturation_adu": "saturation",
    "full_well_e": "full well",
    "prnu_percent": "PRNU (spread of the response)",
    "dsnu_e": "DSNU (spread of the offset)",
    "lag1_x": "noise correlation along x",
    "lag1_y": "noise correlation along y",
    "correlation_factor": "correlation factor of the gain",
    "linearity_error_percent": "linearity error (EMVA 1288)",
    "linearity_largest_percent": "largest deviation from linear",
}
_GOOD_ERROR = 0.02


def measured_page(
    data: CalibrationData, result: CalibrationResult, constants: CameraConstants | None
) -> Page:
    """Return the report; ``constants`` is None where none could be had."""
    warnings = (*data.warnings, *result.warnings)
    sections = [
        Section(
            heading="What was measured",
            text=("± is one standard error of the measurement.",),
            tables=(value_table(result.values().items()),),
        ),
        _transfer_section(result),
        _maps_section(result, constants),
        _defects_section(result),
        _dark_section(result),
        _light_section(data, result),
        Section(
            heading="Series",
            tables=(_levels_table("Dark", result.dark_levels),) * bool(result.dark_levels)
            + (_levels_table("Lit", result.levels),),
        ),
    ]
    return Page(
        title=f"Calibration of {data.camera}",
        subtitle="Simulated camera or light" if data.simulated else "",
        verdict=verdict(result, constants),
        warnings=warnings,
        summary_rows=_summary(data, result),
        sections=[s for s in sections if s.text or s.tables or s.figures],
        provenance=provenance_rows(),
    )


def published_page(camera: str, found: PublishedMaps) -> Page:
    """Return the report of maps that others measured."""
    constants = found.constants
    rows = (
        ("gain, median", f"{constants.gain_e_per_adu:.5g}", "e-/ADU"),
        ("offset, mean", f"{constants.offset_adu:.5g}", "ADU"),
        ("read noise, rms", f"{constants.read_noise_e:.4g}", "e-"),
    )
    table = Table(columns=("quantity", "value", "unit"), rows=rows)
    figures = (noise_picture(found.maps, constants), *map_pictures(found.maps))
    return Page(
        title=f"Calibration of {camera}",
        subtitle="From published maps; nothing was measured here",
        warnings=found.warnings,
        summary_rows=tuple(_split(line) for line in found.sources),
        sections=(
            Section(heading="Constants", tables=(table,)),
            Section(heading="Maps", figures=figures),
        ),
        provenance=provenance_rows(),
    )


def verdict(result: CalibrationResult, constants: CameraConstants | None) -> Verdict:
    """Return the line that is read first."""
    gain = result.gain_e_per_adu
    if constants is None or gain.value is None:
        return Verdict(f"No gain could be measured: {gain.text}", "bad")
    noise = result.read_noise_e
    text = f"Gain {with_error(gain)}, offset {with_error(result.offset_adu)}, read noise "
    text += f"{with_error(noise)}"
    if gain.status == "measured, biased":
        return Verdict(f"{text}. The gain is biased, see its line: {gain.text}", "warning")
    unsure = [v for v in (gain, result.offset_adu, noise) if v.status != "measured"]
    if unsure:
        return Verdict(f"{text}. Not everything was measured: see the table.", "warning")
    relative = (gain.error or 0.0) / gain.value
    if relative > _GOOD_ERROR:
        return Verdict(f"{text}. The gain is uncertain by {100 * relative:.1f} %.", "warning")
    return Verdict(f"{text}.", "good")


def value_table(values: Iterable[tuple[str, Value]]) -> Table:
    """Return a table of quantities with errors, and how each is known."""
    rows = [
        (NAMES.get(name, name), *_cells(value), value.status, value.text) for name, value in values
    ]
    columns = ("quantity", "value", "±", "unit", "status", "how it is known")
    return Table(columns=columns, rows=tuple(rows), wide_columns=(5,))


def with_error(value: Value) -> str:
    """Return value, error and unit as one text."""
    number, error, unit = _cells(value)
    text = f"{number} ± {error}" if error else number
    return f"{text} {unit}".strip()


def _cells(value: Value) -> tuple[str, str, str]:
    unit = value.unit.replace("e/", "e-/") if value.unit.startswith("e/") else value.unit
    unit = "e-" if unit == "e" else unit
    if value.value is None:
        return "-", "", unit
    return *rounded(value.value, value.error or 0.0), unit


def _summary(data: CalibrationData, result: CalibrationResult) -> tuple[tuple[str, str], ...]:
    height, width = data.series[0].summary.shape
    region = "" if (height, width) == data.sensor else f" of a sensor of {data.sensor[::-1]}"
    rows = [
        ("frames from", data.source),
        ("frames", f"{width} x {height} px{region}, {data.bit_depth} bits, binning {data.binning}"),
        ("number", f"{result.n_frames} in all, {result.n_dark_frames} of them dark"),
        ("noise model", result.model.replace("_", "-")),
    ]
    for line in taken_as(data.dark_files, data.lit_files):
        name, _, files = line.partition(": ")
        rows.append((name, files))
    return (*rows, *(("note", note) for note in data.notes))


def _transfer_section(result: CalibrationResult) -> Section:
    transfer = result.transfer
    text: tuple[str, ...] = ()
    if transfer is not None:
        fit = (
            f"The line explains {100 * transfer.r2:.2f} % of the variation; chi squared is "
            f"{transfer.chi2:.0f} for {transfer.degrees_of_freedom} degrees of freedom."
        )
        text = (fit,)
    figures = (transfer_picture(result), linearity_picture(result.linearity))
    return Section(heading="Photon transfer and linearity", text=text, figures=_there(figures))


def _maps_section(result: CalibrationResult, constants: CameraConstants | None) -> Section:
    text = (result.maps_text,) if result.maps_text else ()
    if result.maps is None or constants is None:
        return Section(heading="Maps", text=text)
    figures = (noise_picture(result.maps, constants), *map_pictures(result.maps))
    return Section(heading="Maps", text=text, figures=figures)


def _defects_section(result: CalibrationResult) -> Section:
    found = result.defects
    rows = [
        (name, "-" if index is None else str(index.size), text)
        for name, index, text in (
            ("hot", found.hot_index, found.hot_text),
            ("telegraph", found.telegraph_index, found.telegraph_text),
            ("dead", found.dead_index, found.dead_text),
        )
    ]
    table = Table(columns=("kind", "pixels", "how it is told"), rows=tuple(rows), wide_columns=(2,))
    picture = defects_picture(found, result.sensor)
    return Section(heading="Defect pixels", tables=(table,), figures=_there((picture,)))


def _dark_section(result: CalibrationResult) -> Section:
    return Section(heading="Dark current", figures=_there((dark_current_picture(result),)))


def _light_section(data: CalibrationData, result: CalibrationResult) -> Section:
    offset = result.offset_adu.value or 0.0
    lit = [series for series in data.series if not series.is_dark]
    picture = drift_picture(reference_series(lit, offset))
    return Section(heading="Light", figures=_there((picture,)))


def _levels_table(caption: str, levels: Sequence[Level]) -> Table:
    columns = (
        "exposure [ms]",
        "light",
        "mean [ADU]",
        "variance [ADU²]",
        "frames",
        "saturated [%]",
        "drift [%]",
        "flicker [%]",
        "not fitted because",
    )
    rows = [
        (
            f"{level.exposure_us / 1000:g}" if level.exposure_us else "unknown",
            "unknown" if level.light is None else f"{level.light:.4g}",
            f"{level.mean_adu:.2f}",
            f"{level.variance_adu2:.3g}",
            str(level.n_frames),
            f"{100 * level.saturated_fraction:.3g}",
            f"{100 * level.drift_fraction:.2g}",
            f"{100 * level.flicker_fraction:.2g}",
            level.excluded,
        )
        for level in levels
    ]
    return Table(caption=caption, columns=columns, rows=tuple(rows), wide_columns=(8,))


def _there(figures: Iterable[Picture | None]) -> tuple[Picture, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value
