"""A dry run on the terminal: what it costs, what is taken at each site, where the fields are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livedenoise.collect.forecast_text import forecast_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from livedenoise.collect.forecast import FieldForecast, Forecast, LevelForecast

_SHOWN_FIELDS = 40
_HEAD = "dry run: the microscope was asked for its limits and position; no light, no move, no file"
_COLUMNS = "e-: electrons of a frame, high is 1; high/low: how much more light high gets"


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Print the forecast; of many fields the first and the last are named, ``--json`` has all."""
    from livedenoise.view.summary import render_lines

    console.print(_HEAD, style="dim", highlight=False)
    console.print()
    console.print(_levels_table(forecast))
    console.print()
    console.print(_fields_table(forecast.fields))
    console.print()
    console.print(render_lines(forecast_lines(forecast), list(forecast.notes)), highlight=False)


def _levels_table(forecast: Forecast) -> Table:
    table = _table("at every site", "channel", "image")
    for name in ("ms", "light", "frames", "images", "dose, ms", "e-", "high/low"):
        table.add_column(name, justify="right")
    for one in forecast.levels:
        table.add_row(*_level_row(one))
    table.caption = _COLUMNS
    table.caption_justify = "left"
    return table


def _level_row(one: LevelForecast) -> tuple[str, ...]:
    image = "high" if one.role == "high" else f"low {one.level}"
    value = f" ({one.light_value})" if one.light_value else ""
    is_low = one.role == "low"
    return (
        one.channel or "-",
        image,
        f"{one.exposure_us / 1e3:g}",
        f"{one.light:g}{value}",
        str(one.frames),
        str(one.images),
        f"{one.dose_ms:.4g}",
        f"{one.electron_ratio:.4g}",
        f"{one.dose_ratio:.4g}x" if is_low else "-",
    )


def _fields_table(fields: tuple[FieldForecast, ...]) -> Table:
    table = _table("fields", "field", "name")
    for name in ("x, um", "y, um", "z, um", "sites", "dose, ms"):
        table.add_column(name, justify="right")
    table.add_column("split")
    shown = fields if len(fields) <= _SHOWN_FIELDS else fields[: _SHOWN_FIELDS - 1]
    for one in shown:
        table.add_row(*_field_row(one))
    if len(shown) < len(fields):
        table.add_row("...")
        table.add_row(*_field_row(fields[-1]))
    return table


def _field_row(one: FieldForecast) -> tuple[str, ...]:
    where = ("-" if at is None else f"{at:.1f}" for at in (one.x_um, one.y_um, one.z_um))
    return (str(one.field), one.name, *where, str(one.sites), f"{one.dose_ms:.4g}", one.split)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="dim", box=None)
    for name in columns:
        table.add_column(name)
    return table
