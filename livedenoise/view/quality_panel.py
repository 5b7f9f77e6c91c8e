"""The quality figures of one camera, as ``quality.definitions`` names them. Pure.

A figure that compares frames is grey and says "motion" while the scene moves; one that has not
enough samples yet says how many it has. Must not know: how figures are measured.
"""

from __future__ import annotations

from rich.cells import cell_len

from livedenoise.core.status import Figure, QualityStatus
from livedenoise.quality.definitions import FIGURES, FigureDefinition
from livedenoise.quality.meter import LEAST_SAMPLES
from livedenoise.view.lines import GAP, Line, beside, left, line, printable, right
from livedenoise.view.numbers_text import MISSING, number

_LABEL = max(cell_len(definition.label) for definition in FIGURES.values())
_VALUE = 7
_REMARK = 7
CELL = _LABEL + _VALUE + _REMARK
"""Columns one figure takes at least."""


def quality_lines(quality: QualityStatus | None, width: int) -> list[Line]:
    """Return the figures in as many columns as fit; a line of text where none are measured."""
    if quality is None:
        return [line(("quality is not measured", "label"))]
    columns = max(1, (width + GAP) // (CELL + GAP))
    room = max(1, (width - (columns - 1) * GAP) // columns)
    cells = [_cell(FIGURES[key], quality.figures.get(key), quality, room) for key in FIGURES]
    # Row by row: where lines are missing, they are those of the last figures.
    blocks = [(cells[column::columns], room) for column in range(columns)]
    head = line(("quality", "title"), ("  moving averages", "label"), *_remarks(quality))
    return [head, *beside(blocks)]


def _remarks(quality: QualityStatus) -> list[tuple[str, str]]:
    remarks = []
    if quality.constants:
        remarks.append((f"  constants: {printable(quality.constants)}", "label"))
    else:
        remarks.append(("  no camera constants: nothing in electrons", "warn"))
    if quality.motion:
        remarks.append(("  the scene moves", "warn"))
    return remarks


def _cell(
    definition: FigureDefinition, figure: Figure | None, quality: QualityStatus, room: int
) -> Line:
    label = (left(definition.label, _LABEL), "label")
    moving = quality.motion and definition.compares_frames
    if figure is None or figure.value is None:
        if moving:
            return line(label, (right(MISSING, _VALUE), "grey"), (" motion", "grey"))
        text = f"{right(MISSING, _VALUE)} {_waiting(figure)}"
        # Closer to the label where the number of samples would be cut.
        return line(label, (text if len(text) <= room - _LABEL else text.lstrip(), "label"))
    shown = right(number(figure.value, definition.decimals), _VALUE)
    unit = f" {definition.unit}" if definition.unit else ""
    if not moving:
        return line(label, (shown, "value"), (unit, "label"))
    remark = f"{unit} motion"
    fits = _LABEL + _VALUE + len(remark) <= room
    return line(label, (shown, "grey"), (remark if fits else " motion", "grey"))


def _waiting(figure: Figure | None) -> str:
    """Return how many samples there are of those needed, empty where that is not the reason."""
    return f"({figure.n} of {LEAST_SAMPLES})" if figure and figure.n < LEAST_SAMPLES else ""
