"""One self-contained HTML page, with the pictures inside it and as PNG files beside it.

Knows: the template, how parts become a file. Must not know: what is reported, how pictures are
drawn.

The page loads nothing from anywhere: it can be mailed, printed, and opened in ten years. All text
is escaped.

Example
-------
>>> page = Page(title="A camera", sections=(Section(heading="Gain", text=("It is <1.",)),))
>>> "It is &lt;1." in page.html()
True
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from livedenoise.core.errors import ConfigError
from livedenoise.report.parts import Picture, Section, Table, Verdict

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Page", "Picture", "Section", "Table", "Verdict"]

TEMPLATE = "page.html.j2"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Page:
    """A report.

    Parameters
    ----------
    title : str
        Heading of the page.
    summary_rows : sequence of (str, str)
        Names and values right below the title: what, when, how much.
    sections : sequence of Section
        The body, in order.
    subtitle : str
        One line below the title.
    verdict : Verdict, optional
        The line that is read first.
    warnings : sequence of str
        Shown before everything else.
    provenance : sequence of (str, str)
        Foot of the page (``report.provenance``).

    Raises
    ------
    ValueError
        If two pictures have one name, or a name cannot be a file's.
    """

    def __init__(
        self,
        *,
        title: str,
        sections: Sequence[Section],
        summary_rows: Sequence[tuple[str, str]] = (),
        subtitle: str = "",
        verdict: Verdict | None = None,
        warnings: Sequence[str] = (),
        provenance: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.title = title
        self.subtitle = subtitle
        self.verdict = verdict
        self.warnings = tuple(dict.fromkeys(warnings))
        self.summary_rows = tuple(summary_rows)
        self.sections = tuple(sections)
        self.provenance = tuple(provenance)
        _check_names([picture.name for picture in self.pictures])

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Return every picture of the page."""
        return tuple(picture for section in self.sections for picture in section.figures)

    def html(self) -> str:
        """Return the page as one text."""
        return _template().render(page=self, inline=_inline)

    def write(self, path: Path) -> list[Path]:
        """Write the page at ``path`` and its pictures into a folder of the same name.

        ``report.html`` has its pictures in ``report/NAME.png``. Returns the files written.

        Raises
        ------
        ConfigError
            If they cannot be written.
        """
        folder = path.with_suffix("")
        files = {folder / f"{picture.name}.png": picture.png for picture in self.pictures}
        files[path] = self.html().encode("utf-8")
        try:
            (folder if self.pictures else path.parent).mkdir(parents=True, exist_ok=True)
            for file, content in files.items():
                file.write_bytes(content)
        except OSError as error:
            raise ConfigError(f"{path}: the report cannot be written: {error}") from error
        return list(files)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("livedenoise.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def _inline(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode('ascii')}"


def _check_names(names: list[str]) -> None:
    for name in names:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"picture name {name!r} is not a plain file name")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"picture names must differ, used twice: {', '.join(twice)}")
