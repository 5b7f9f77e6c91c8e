"""``dataset`` and ``export-pairs``: look at a data set of pairs, and hand it to other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livedenoise.verbs.common import Verbs, print_json

if TYPE_CHECKING:
    from livedenoise.collect.dataset_reader import Verified
    from livedenoise.collect.dataset_summary import DatasetSummary
    from livedenoise.collect.records import DatasetHeader


def export_pairs(arguments: argparse.Namespace) -> int:
    """``livedenoise export-pairs DATASET --out FOLDER``: low/ and GT/ of equal file names."""
    import msgspec

    from livedenoise.collect.export import Options
    from livedenoise.collect.export import export_pairs as export
    from livedenoise.view.progress import ProgressView

    options = Options(
        split=arguments.split,
        aligned=arguments.aligned,
        dtype=arguments.dtype or ("float32" if arguments.scale == "match" else "same"),
        scale=arguments.scale,
    )
    with ProgressView() as progress:
        done = export(arguments.dataset, arguments.out, options, progress)
    if arguments.json:
        print_json({**msgspec.to_builtins(done), "exit_code": 0})
        return 0
    counts = ", ".join(f"{count} {split}" for split, count in done.pairs.items())
    moved = f"{done.moved} moved onto low" if options.aligned else "as taken"
    lines = [
        ("exported", f"{counts} pairs, {done.n_bytes / 1e6:.1f} MB"),
        ("high", f"{moved}, scale {options.scale}, pixel type {options.dtype}"),
        ("folder", done.folder),
    ]
    _print(lines, [])
    return 0


def dataset(arguments: argparse.Namespace) -> int:
    """``livedenoise dataset DATASET``: what is in it, and with ``--verify`` whether it is whole."""
    from livedenoise.collect.dataset_reader import verify_dataset
    from livedenoise.collect.dataset_summary import summarise_dataset
    from livedenoise.core.errors import EXIT_OK, EXIT_RECORD
    from livedenoise.verbs.dataset_text import dataset_lines, dataset_warnings
    from livedenoise.view.progress import ProgressView

    header, summary = summarise_dataset(arguments.dataset)
    verified = None
    if arguments.verify:
        with ProgressView() as progress:
            verified = verify_dataset(arguments.dataset, progress)
    exit_code = EXIT_RECORD if verified and verified.problems else EXIT_OK
    if arguments.json:
        print_json({**_as_json(header, summary, verified), "exit_code": exit_code})
    else:
        _print(dataset_lines(header, summary, verified), dataset_warnings(summary, verified))
    return exit_code


def register(verbs: Verbs) -> None:
    """Add ``dataset`` and ``export-pairs``."""
    _add_dataset(verbs.add_parser("dataset", help="what a data set of pairs holds"))
    _add_export(
        verbs.add_parser("export-pairs", help="pairs as low/ and GT/ folders, as CARE reads them")
    )


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="data set: the folder with manifest.jsonl")
    add("--verify", action="store_true", help="read every file and compare its hash")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=dataset)


def _add_export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="data set: the folder with manifest.jsonl")
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder to make")
    add("--split", choices=("train", "val", "test", "all"), default="all", help="which part")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--aligned", action="store_true", default=True, help="move high onto low (default)"
    )
    chosen.add_argument(
        "--as-taken", action="store_false", dest="aligned", help="leave both as they were taken"
    )
    add(
        "--dtype", choices=("same", "float32"), help="pixel type; default: same, or as --scale asks"
    )
    add(
        "--scale",
        choices=("none", "match"),
        default="none",
        help="match: bring high to the intensity of low (float32)",
    )
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=export_pairs)


def _as_json(
    header: DatasetHeader, summary: DatasetSummary, verified: Verified | None
) -> dict[str, Any]:
    import msgspec

    found = {"header": header, "summary": summary, "verified": verified}
    return {name: msgspec.to_builtins(value) for name, value in found.items()}


def _print(lines: list[tuple[str, str]], warnings: list[str]) -> None:
    from rich.console import Console

    from livedenoise.view.summary import render_lines

    Console().print(render_lines(lines, warnings))
