"""One part file against what the sidecar says of it. Reads only.

Knows: where the chain of pages should end, and what lies behind the last acknowledged page.
Must not know: what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from livedenoise.record.pages import PageDamageError, page_at, read_pages
from livedenoise.record.tally import PartTally

_MORE = "its chain of pages goes on after the last acknowledged frame"


class ChainProblem(NamedTuple):
    """What is wrong with a part's chain of pages, and whether ending the chain mends it."""

    text: str
    mendable: bool


def chain_problem(path: Path, part: PartTally) -> ChainProblem | None:
    """Return what is wrong with a part's chain of pages up to its last acknowledged frame.

    None when a TIFF reader sees exactly the acknowledged frames.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    number = 0
    why = "it ends too early"
    try:
        for number, page in enumerate(read_pages(path), start=1):
            if page.offset == part.last_offset:
                if page.next_ifd:
                    return ChainProblem(f"{path.name}: {_MORE}", mendable=True)
                if number != part.pages:
                    text = f"{path.name}: has {number} pages, {part.pages} of them in the sidecar"
                    return ChainProblem(text, mendable=False)
                return None
    except PageDamageError as error:
        why = error.message
    text = (
        f"{path.name}: TIFF readers see only {number} of {part.pages} pages, livedenoise sees all: "
        f"the chain of pages is broken: {why}"
    )
    return ChainProblem(text, mendable=False)


def not_acknowledged(path: Path, part: PartTally, size: int) -> Iterator[str]:
    """Yield what lies behind the last acknowledged page of a part of ``size`` bytes.

    Raises
    ------
    ConfigError
        If the file cannot be read.
    """
    try:
        end = page_at(path, part.last_offset, part.nbytes).end
    except PageDamageError:
        # Said by ``chain_problem``.
        return
    while end < size:
        try:
            page = page_at(path, end, part.nbytes)
        except PageDamageError:
            yield f"{path.name}: {size - end} bytes of a torn page, from byte {end} on"
            return
        yield f"{path.name}: the page whose pixels are at byte {end}"
        end = page.end
