"""What a report is made of: verdict, tables, pictures, sections.

Knows: the form of each part. Must not know: what is reported, HTML, how pictures are drawn.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Tone = Literal["good", "warning", "bad"]


class Verdict(msgspec.Struct, frozen=True):
    """The one line that is read first; ``tone`` colours it, and words say it too."""

    text: str
    tone: Tone = "good"


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of text; units and errors stand in the cells or the headings.

    ``wide_columns`` are the numbers of columns that hold sentences: they wrap, others do not.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    wide_columns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rows of another length than the heading."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table has columns {self.columns} but a row {row}")


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A PNG: ``name`` becomes its file name, ``alt`` is read to who does not see it."""

    name: str
    png: bytes
    caption: str
    alt: str = ""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A heading, paragraphs, tables, pictures, in this order."""

    heading: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Picture, ...] = ()
