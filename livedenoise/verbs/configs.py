"""``config``: list the shipped configurations, or print one to start from."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

from livedenoise.core.errors import ConfigError
from livedenoise.verbs.common import Verbs, print_json


def config(arguments: argparse.Namespace) -> int:
    """``livedenoise config [NAME [--out FILE]]``: the names, or one file as it is."""
    from livedenoise.hardware import find_config, shipped_configs

    if arguments.name is not None:
        path = find_config(arguments.name)
        text = path.read_text(encoding="utf-8")
        if arguments.out is not None:
            _write(arguments.out, text)
        elif arguments.json:
            print_json({"name": path.stem, "path": str(path), "text": text})
        else:
            sys.stdout.write(text)
        return 0
    shipped = {
        name: str(tomllib.loads(path.read_text(encoding="utf-8")).get("description", ""))
        for name, path in shipped_configs().items()
    }
    if arguments.json:
        print_json(shipped)
        return 0
    width = max(map(len, shipped))
    lines = [f"{name:<{width}}  {about}" for name, about in shipped.items()]
    lines += ["", "to start from one:  livedenoise config NAME --out my_rig.toml"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _write(target: Path, text: str) -> None:
    """Write a file; a shell's ``>`` would write another encoding on some systems."""
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{target}: is there already", "name another file") from None
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error}") from error


def register(verbs: Verbs) -> None:
    """Add ``config``."""
    parser = verbs.add_parser("config", help="list the shipped configurations, or print one")
    parser.add_argument("name", nargs="?", default=None, metavar="NAME", help="print this one")
    parser.add_argument(
        "--out", type=Path, default=None, metavar="FILE", help="write it there; never overwrites"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else on stdout"
    )
    parser.set_defaults(verb=config)
