"""``keys``: make the CURVE keys that frames and metrics need beyond this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from livedenoise.verbs.common import Verbs, print_json


def keys(arguments: argparse.Namespace) -> int:
    """``livedenoise keys DIR [--client NAME]``: server's keys, and a client's."""
    from livedenoise.bus.keys import make_client_keys, make_server_keys

    # Whole, because it is to be pasted into a file that may be elsewhere.
    folder: Path = arguments.dir.resolve()
    made = make_server_keys(folder)
    clients = [make_client_keys(folder, name) for name in arguments.client]
    if arguments.json:
        print_json({"dir": str(folder), "made": made, "clients": [str(path) for path in clients]})
    else:
        sys.stdout.write("\n".join(_report(folder, made=made, clients=clients)) + "\n")
    return 0


def _report(folder: Path, *, made: bool, clients: list[Path]) -> list[str]:
    lines = [
        f"{folder}: server's keys {'made' if made else 'were there already, not changed'}",
        f'  on this machine:  keys = "{folder}" in [[camera]] kind = "network", or in [share]',
        f"  never give away:  {folder / 'server.secret'}",
    ]
    for path in clients:
        lines += [
            f"{path}: keys of a client, who may connect from now on",
            f"  carry the folder {path.name}/ to that machine by a safe way (scp, a USB stick),",
            f"  delete it here, and use it there: FrameSender(..., keys={path.name!r})",
            f"  to shut it out again: delete {_authorised(folder, path)}",
        ]
    if not clients:
        lines.append(f"next, once for each client:  livedenoise keys {folder} --client NAME")
    return lines


def _authorised(folder: Path, client: Path) -> Path:
    return folder / "clients" / f"{client.name.removeprefix('for-')}.public"


def register(verbs: Verbs) -> None:
    """Add ``keys``."""
    parser = verbs.add_parser("keys", help="make keys for frames from and to other machines")
    add = parser.add_argument
    add("dir", type=Path, metavar="DIR", help="folder of the keys; nothing in it is overwritten")
    add(
        "--client",
        action="append",
        default=[],
        metavar="NAME",
        help="make keys for a client too, and let it in; may be repeated",
    )
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    parser.set_defaults(verb=keys)
