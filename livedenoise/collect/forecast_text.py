"""A forecast in words, without any terminal: what ``--dry-run`` prints. Pure.

Knows: ``collect.forecast``. Must not know: rich.
"""

from __future__ import annotations

from livedenoise.collect.forecast import Forecast


def forecast_lines(forecast: Forecast) -> list[tuple[str, str]]:
    """Return the forecast as labelled lines for people, fields and levels apart."""
    rows, columns = forecast.shape
    spent = {
        "exposures": forecast.time.exposures_s,
        "readout": forecast.time.readout_s,
        "stage": forecast.time.stage_s,
        "settling": forecast.time.settling_s,
        "autofocus": forecast.time.autofocus_s,
        "commands": forecast.time.commands_s,
        "dark frames": forecast.time.darks_s,
    }
    parts = ", ".join(f"{name} {seconds_text(s)}" for name, s in spent.items() if s > 0)
    doses = [one.dose_ms for one in forecast.fields]
    roles = f"low {forecast.low_dose_ms:.4g} ms, high {forecast.high_dose_ms:.4g} ms"
    least, most = f"{min(doses, default=0.0):.4g}", f"{max(doses, default=0.0):.4g}"
    each = most if least == most else f"{least} to {most}"
    split = ", ".join(
        f"{sum(one.split == part for one in forecast.fields)} {part}"
        for part in ("train", "val", "test")
    )
    return [
        ("plan", f"{forecast.plan} ({forecast.plan_hash})"),
        ("camera", f"{forecast.camera}, {columns} x {rows} px{_simulated(forecast)}"),
        ("fields", f"{len(forecast.fields)}: {split}"),
        ("pairs", f"{forecast.n_pairs}, {forecast.n_frames} frames exposed"),
        ("time", f"{seconds_text(forecast.total_s)}: {parts}"),
        ("disk", _disk_text(forecast)),
        (
            "light dose",
            f"{each} ms at full light a field, {forecast.total_dose_ms:.4g} ms in all: {roles}",
        ),
        ("retries", f"not foreseen; a field is tried at most {_times(forecast.attempts)}"),
        *(("estimate", text) for text in forecast.assumptions),
    ]


def _simulated(forecast: Forecast) -> str:
    return ", SIMULATED" if forecast.simulated else ""


def _disk_text(forecast: Forecast) -> str:
    free = f"{forecast.disk_free_bytes / 1e9:.1f} GB free"
    return f"{forecast.disk_bytes / 1e6:.1f} MB ({free})"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def seconds_text(seconds: float) -> str:
    """Return a duration as people say it: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
