"""The options of ``calibrate``, and which of them go with a camera, with files, with maps.

Knows: names, types, what goes together. Must not know: what the options do.

An option without a default is None (or False) until it is given: one that does not apply is an
error, never silently ignored.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Literal

from livedenoise.core.errors import ConfigError
from livedenoise.verbs.common import positive

Mode = Literal["camera", "files", "maps"]

_MODES: dict[str, tuple[Mode, ...]] = {
    **dict.fromkeys(
        (
            "dark_frames",
            "dark_exposures",
            "levels",
            "frames",
            "exposure",
            "max_exposure",
            "light",
            "light_off",
            "light_linear",
            "settle",
            "discard",
            "dark_by_hand",
            "resume",
        ),
        ("camera",),
    ),
    **dict.fromkeys(("dark", "lit", "offset"), ("files",)),
    **dict.fromkeys(("gain_unit", "noise_unit", "read_noise"), ("maps",)),
    "bit_depth": ("files", "maps"),
    **dict.fromkeys(
        ("flat", "saturation", "excess_noise", "conversion_gain", "em_gain"), ("camera", "files")
    ),
}
_WHERE: dict[Mode, str] = {
    "camera": "with a camera",
    "files": "from files",
    "maps": "with --maps",
}
_TOGETHER = (
    ("light_off", "light", True),
    ("light_linear", "light", True),
    ("levels", "light", False),
    ("max_exposure", "exposure", False),
)
"""An option, another, and whether the first needs the second or excludes it."""


def require_options_of(arguments: argparse.Namespace, mode: Mode) -> None:
    """Refuse options that would be ignored.

    Raises
    ------
    ConfigError
        Naming all that do not apply in this mode, or the two that do not go together.
    """
    given = {name for name in _MODES if getattr(arguments, name) not in (None, False, [])}
    other = sorted(name for name in given if mode not in _MODES[name])
    if other:
        places = {_WHERE[place] for name in other for place in _MODES[name]}
        raise ConfigError(
            f"{', '.join(_option(name) for name in other)} does not apply {_WHERE[mode]}",
            f"leave it out; it goes {' or '.join(sorted(places))}",
        )
    for name, with_name, needed in _TOGETHER:
        if name in given and (with_name in given) is not needed:
            how = "goes with" if needed else "does not go with"
            raise ConfigError(f"{_option(name)} {how} {_option(with_name)}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option but inputs, ``--out``, ``--camera`` and ``--json``."""
    _add_taking(parser)
    _add_files(parser)
    _add_known(parser)


def _add_taking(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("with a camera").add_argument
    add("--dark-frames", type=_at_least(8), metavar="N", help="default 200")
    add(
        "--dark-exposures",
        type=_exposures_us,
        metavar="MS,...",
        help="the shortest gets all dark frames, others a tenth; default 10,100,1000",
    )
    add("--levels", type=_at_least(3), metavar="N", help="exposures; default 10")
    add("--frames", type=_at_least(4), metavar="N", help="at each; default 100")
    add("--exposure", type=positive(float), metavar="MS", help="of the brightest level, unsearched")
    add("--max-exposure", type=positive(float), metavar="MS", help="default 500")
    add("--light", metavar="DEV.PROP=V,...", help="levels by a device property, dimmest first")
    add("--light-off", metavar="V", help="value of that property that is dark")
    add("--light-linear", action="store_true", help="its values are in proportion to the light")
    add(
        "--settle",
        type=_not_negative,
        metavar="MS",
        help="wait after a change of light",
    )
    add("--discard", type=_at_least(0), metavar="N", help="frames, each series; 2")
    add("--dark-by-hand", action="store_true", help="asks you to cover the camera")
    add("--resume", action="store_true", help="go on with an interrupted calibration")


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("from files").add_argument
    add("--dark", type=Path, nargs="+", default=[], metavar="PATH", help="dark frames")
    add("--lit", type=Path, nargs="+", default=[], metavar="PATH", help="repeats of a lit scene")
    add("--bit-depth", type=_bit_depth, metavar="N", help="where the files do not say it")
    add("--maps", action="store_true", help="the folder holds measured maps, not frames")
    add("--gain-unit", choices=("e_per_adu", "adu_per_e"), help="of the gain map")
    add("--noise-unit", choices=("adu", "e"), help="of a map of read noise")
    add("--read-noise", type=positive(float), metavar="E", help="without a map of it")


def _add_known(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is known already").add_argument
    add("--flat", action="store_true", help="the scene is evenly lit: a better gain map")
    add("--offset", type=float, metavar="ADU", help="where there are no dark frames")
    add("--saturation", type=positive(float), metavar="ADU", help="below the highest count")
    add("--excess-noise", type=positive(float), metavar="F", help="2 for an EMCCD at high gain")
    add("--conversion-gain", type=positive(float), metavar="E_PER_ADU", help="without EM gain")
    add("--em-gain", type=positive(float), metavar="G", help="with it: measures excess noise")


def _exposures_us(text: str) -> tuple[int, ...]:
    """Return exposures given in milliseconds, separated by commas."""
    parse = positive(float)
    try:
        found = tuple(round(parse(part) * 1000) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"not milliseconds like 10,100,1000: {text}") from None
    if not all(found):
        raise argparse.ArgumentTypeError(f"an exposure is at least 0.001 ms: {text}")
    return found


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < inf:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text}")
    return value


def _bit_depth(text: str) -> int:
    if text not in map(str, range(8, 17)):
        raise argparse.ArgumentTypeError(f"must be 8 to 16, got {text}")
    return int(text)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
        return value

    return number
