"""``predict``: denoise files with the same engines."""

from __future__ import annotations

import argparse
from pathlib import Path

from livedenoise.verbs.common import ENGINES, Verbs, positive


def predict(arguments: argparse.Namespace) -> int:
    """``livedenoise predict INPUT OUTPUT``: the same engines over files."""
    from livedenoise.batch.command import run_predict

    return run_predict(arguments)


def register(verbs: Verbs) -> None:
    """Add ``predict``."""
    _add_predict(verbs.add_parser("predict", help="denoise files with the same engines"))


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("input", type=Path, metavar="INPUT", help="TIFF or PNG, folder of them, or run folder")
    add("output", type=Path, metavar="OUTPUT", help="file, or folder for a folder")
    add("--model", default="realtime-m", metavar="M", help="shipped model or package folder")
    add("--engine", choices=ENGINES, default="auto", help="which engine serves the model")
    add("--calibration", type=Path, metavar="C", help="calibration folder of the camera")
    add("--gain", type=positive(float), metavar="E_PER_ADU", help="electrons per count")
    add("--offset", type=float, metavar="ADU", help="counts without light")
    add("--read-noise", type=float, metavar="E", help="read noise in electrons")
    add("--dtype", choices=("same", "float32"), default="same", help="pixel type of the outputs")
    add("--tile", type=positive(int), metavar="PX", help="edge of the tiles; default: whole frame")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=predict)
