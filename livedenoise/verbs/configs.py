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
    from livedenoise.hardware import files_beside, find_config, shipped_configs

    if arguments.name is not None:
        path = find_config(arguments.name)
        text = path.read_text(encoding="utf-8")
        if arguments.out is not None:
            written = _copy(path, arguments.out, files_beside(path))
            if arguments.json:
                print_json({"name": path.stem, "written": [str(file) for file in written]})
            else:
                sys.stdout.write(_written_text(written))
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


def _copy(source: Path, target: Path, beside: list[Path]) -> list[Path]:
    """Copy a configuration and the files it names; return those that were written.

    A shell's ``>`` would write another encoding on some systems, and leave the others behind.

    Raises
    ------
    ConfigError
        If one of them is there already and is another one: then nothing is written.
    """
    copies = [(source, target)]
    copies += [(file, target.parent / file.name) for file in beside]
    missing = [(file, copy) for file, copy in copies if not _is_there(file, copy, copy == target)]
    for file, copy in missing:
        _write(copy, file.read_bytes())
    return [copy for _, copy in missing]


def _is_there(file: Path, copy: Path, is_target: bool) -> bool:
    """Return whether a file need not be copied: the same one lies there."""
    try:
        if not copy.exists():
            return False
        if not is_target and copy.read_bytes() == file.read_bytes():
            return True
    except OSError as error:
        raise ConfigError(f"{copy}: cannot be read: {error}") from error
    mend = "name another file" if is_target else "name a file in another folder, or move this one"
    raise ConfigError(f"{copy}: is there already", mend)


def _write(target: Path, content: bytes) -> None:
    try:
        with target.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise ConfigError(f"{target}: is there already", "name another file") from None
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error}") from error


def _written_text(written: list[Path]) -> str:
    target, *beside = written
    lines = [f"written: {target}"]
    lines += [f"written: {file} (it is named there: keep them together)" for file in beside]
    return "\n".join([*lines, f"next:  livedenoise check {target}"]) + "\n"


def register(verbs: Verbs) -> None:
    """Add ``config``."""
    parser = verbs.add_parser("config", help="list the shipped configurations, or print one")
    parser.add_argument("name", nargs="?", default=None, metavar="NAME", help="print this one")
    parser.add_argument(
        "--out",
        type=Path,
        default=None,
        metavar="FILE",
        help="write it, and what it names, there; never overwrites",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else on stdout"
    )
    parser.set_defaults(verb=config)
