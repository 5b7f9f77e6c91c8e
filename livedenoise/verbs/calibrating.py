"""``calibrate``: measure a camera's gain, offset and noise, from itself or from files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livedenoise.core.errors import ConfigError
from livedenoise.verbs.common import Verbs, positive, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from livedenoise.calibrate.command import Outcome
    from livedenoise.calibrate.results import Known
    from livedenoise.calibrate.settings import AcquireSettings
    from livedenoise.core.config import CameraConfig
    from livedenoise.core.progress import OnProgress
    from livedenoise.view.progress import ProgressView

SCENE = (
    "In front of the camera: an evenly lit surface (best), or any sample that stands still and "
    "does not bleach.\nNothing may move or change until it is done."
)


def calibrate(arguments: argparse.Namespace) -> int:
    """``livedenoise calibrate CONFIG|FOLDER --out CAMERA``: a calibration folder and its report."""
    from rich.console import Console

    console = Console(stderr=True)
    outcome = _done(arguments, console)
    if arguments.json:
        print_json(_as_json(outcome))
    else:
        _print(outcome, Console())
    return 0


def _done(arguments: argparse.Namespace, console: Console) -> Outcome:
    from livedenoise.view.progress import ProgressView

    if arguments.maps:
        return _from_maps(arguments)
    with ProgressView(console) as view:
        config = _config_path(arguments)
        if config is None:
            return _from_files(arguments, view)
        return _from_camera(arguments, config, view, console)


def _config_path(arguments: argparse.Namespace) -> Path | None:
    """Return the configuration that is meant; None where files are."""
    from livedenoise.hardware import find_config

    inputs: list[Path] = arguments.inputs
    if len(inputs) == 1 and (inputs[0].suffix == ".toml" or not inputs[0].exists()):
        if inputs[0].suffix and inputs[0].suffix != ".toml":
            raise ConfigError(f"{inputs[0]}: no such file or folder")
        return find_config(str(inputs[0]))
    if inputs or arguments.dark or arguments.lit:
        return None
    raise ConfigError(
        "nothing to calibrate from", "give a configuration, a folder, or --dark and --lit files"
    )


def _from_camera(
    arguments: argparse.Namespace, config: Path, view: ProgressView, console: Console
) -> Outcome:
    from livedenoise.calibrate.command import calibrate_camera
    from livedenoise.calibrate.partial import partial_folder
    from livedenoise.microscope.choose import open_microscope_for

    camera = _camera_of(config, arguments.camera)
    say: Callable[[str], None] = partial(
        console.print, highlight=False, markup=False, soft_wrap=True
    )
    say(SCENE)
    try:
        return calibrate_camera(
            partial(open_microscope_for, camera),
            _settings(arguments),
            arguments.out,
            known=_known(arguments),
            say=say,
            ask=_asker(view, console) if sys.stdin.isatty() and not arguments.json else None,
            resume=arguments.resume,
            on_progress=view,
        )
    except KeyboardInterrupt:
        kept = partial_folder(arguments.out)
        if kept.exists():
            say(f"finished series are kept in {kept}: the same command with --resume goes on")
        raise


def _asker(view: ProgressView, console: Console) -> Callable[[str], None]:
    def ask(line: str) -> None:
        # The bars would draw over what is typed.
        view.__exit__(None, None, None)
        console.print(line, highlight=False)
        console.input("Press Enter when it is done. ")
        view.__enter__()

    return ask


def _camera_of(config: Path, name: str | None) -> CameraConfig:
    from livedenoise.core.config import load_config

    cameras = {camera.name: camera for camera in load_config(config).camera}
    if name is None and len(cameras) == 1:
        return next(iter(cameras.values()))
    if name not in cameras:
        asked = f"no camera {name!r}" if name else "several cameras"
        raise ConfigError(f"{config}: {asked}", f"--camera one of: {', '.join(cameras)}")
    return cameras[name]


def _settings(arguments: argparse.Namespace) -> AcquireSettings:
    from livedenoise.calibrate.settings import DARK_EXPOSURES_US, AcquireSettings, parse_light

    light = None
    if arguments.light is not None:
        light = parse_light(arguments.light, off=arguments.light_off, linear=arguments.light_linear)
    elif arguments.light_off or arguments.light_linear:
        raise ConfigError("--light-off and --light-linear go with --light")
    exposures = arguments.dark_exposures
    return AcquireSettings(
        dark_frames=arguments.dark_frames,
        dark_exposures_us=DARK_EXPOSURES_US if exposures is None else exposures,
        levels=arguments.levels,
        frames=arguments.frames,
        exposure_us=round((arguments.exposure or 0) * 1000),
        max_exposure_us=round(arguments.max_exposure * 1000),
        light=light,
        settle_ms=arguments.settle,
        discard=arguments.discard,
        dark_by_hand=arguments.dark_by_hand,
    )


def _from_files(arguments: argparse.Namespace, on_progress: OnProgress) -> Outcome:
    from livedenoise.calibrate.command import calibrate_files

    return calibrate_files(
        arguments.inputs,
        arguments.out,
        known=_known(arguments),
        darks=arguments.dark,
        lights=arguments.lit,
        bit_depth=arguments.bit_depth,
        camera=arguments.camera or "",
        on_progress=on_progress,
    )


def _from_maps(arguments: argparse.Namespace) -> Outcome:
    from livedenoise.calibrate.command import write_published
    from livedenoise.calibrate.folder import require_new
    from livedenoise.calibrate.published import read_published

    require_new(arguments.out)
    if len(arguments.inputs) != 1:
        raise ConfigError(
            f"--maps takes one folder or .npy file, got {len(arguments.inputs)}",
            "livedenoise calibrate FOLDER --maps --gain-unit adu_per_e --out CAMERA",
        )
    path = arguments.inputs[0]
    found = read_published(
        path,
        gain_unit=arguments.gain_unit,
        noise_unit=arguments.noise_unit,
        read_noise_e=arguments.read_noise,
    )
    return write_published(
        arguments.out,
        found,
        camera=arguments.camera or arguments.out.name,
        bit_depth=arguments.bit_depth or 16,
        source=str(path),
    )


def _known(arguments: argparse.Namespace) -> Known:
    from livedenoise.calibrate.results import Known

    excess, gains = arguments.excess_noise, (arguments.conversion_gain, arguments.em_gain)
    if excess is not None and excess < 1:
        raise ConfigError(f"--excess-noise {excess:g} is below 1", "1 without EM gain, 2 at a high")
    if (gains[0] is None) != (gains[1] is None):
        raise ConfigError(
            f"--conversion-gain {gains[0]} and --em-gain {gains[1]} go together",
            "the first is measured without EM gain, the second is set on the camera",
        )
    return Known(
        offset_adu=arguments.offset,
        excess_noise_factor=arguments.excess_noise,
        conversion_gain_e_per_adu=arguments.conversion_gain,
        em_gain=arguments.em_gain,
        saturation_adu=arguments.saturation,
        flat_field=arguments.flat,
    )


def _as_json(outcome: Outcome) -> dict[str, Any]:
    import msgspec

    calibration = outcome.calibration
    return {
        "exit_code": 0,
        "calibration": str(calibration.path),
        "hash": calibration.hash,
        "report": str(calibration.path / "report.html"),
        "verdict": outcome.verdict,
        "constants": msgspec.to_builtins(calibration.constants),
        "maps": calibration.maps is not None,
        "values": msgspec.to_builtins(outcome.values),
        "warnings": list(outcome.warnings),
    }


def _print(outcome: Outcome, console: Console) -> None:
    from livedenoise.calibrate.report import NAMES

    folder = outcome.calibration.path
    console.print(_table(outcome), highlight=False, markup=False)
    missing = [v for v in outcome.values.items() if v[1].status != "measured"]
    lines = [f"  {NAMES.get(name, name)}: {value.status}: {value.text}" for name, value in missing]
    lines += [f"! {warning}" for warning in outcome.warnings]
    lines += [
        outcome.verdict,
        f"calibration: {folder}  (hash {outcome.calibration.hash})",
        f"report:      {folder / 'report.html'}",
        f'use it:      calibration = "{folder}" in [[camera]], or predict --calibration {folder}',
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(outcome: Outcome) -> Table:
    from rich.table import Table

    from livedenoise.calibrate.report import value_table

    content = value_table(outcome.values.items())
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(content.columns[:-1]):
        table.add_column(column, no_wrap=True, justify="right" if number in (1, 2) else "left")
    for row in content.rows:
        table.add_row(*row[:-1])
    return table


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


def register(verbs: Verbs) -> None:
    """Add ``calibrate``."""
    parser = verbs.add_parser(
        "calibrate", help="measure a camera's gain, offset and noise, from itself or from files"
    )
    parser.set_defaults(verb=calibrate)
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="*",
        metavar="CONFIG|FOLDER|FILE",
        help="configuration: take the frames; folder or files: TIFF, OME-TIFF, NDTiff, run folders",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="CAMERA", help="calibration folder to make")
    add("--camera", metavar="NAME", help="which camera of the configuration; for files, its name")
    add("--bit-depth", type=_bit_depth, metavar="N", help="where the files do not say it")
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    _add_taking(parser)
    _add_files(parser)
    _add_known(parser)


def _add_taking(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("with a camera").add_argument
    add("--dark-frames", type=_at_least(8), default=200, metavar="N", help="default 200")
    add(
        "--dark-exposures",
        type=_exposures_us,
        metavar="MS,...",
        help="the shortest gets all dark frames, others a tenth; default 10,100,1000",
    )
    add("--levels", type=_at_least(3), default=10, metavar="N", help="exposures; default 10")
    add("--frames", type=_at_least(4), default=100, metavar="N", help="at each; default 100")
    add("--exposure", type=positive(float), metavar="MS", help="of the brightest level, unsearched")
    add("--max-exposure", type=positive(float), default=500.0, metavar="MS", help="default 500")
    add("--light", metavar="DEV.PROP=V,...", help="levels by a device property, dimmest first")
    add("--light-off", default="", metavar="V", help="value of that property that is dark")
    add("--light-linear", action="store_true", help="its values are in proportion to the light")
    add(
        "--settle",
        type=_not_negative,
        default=0.0,
        metavar="MS",
        help="wait after a change of light",
    )
    add("--discard", type=_at_least(0), default=2, metavar="N", help="frames, each series; 2")
    add("--dark-by-hand", action="store_true", help="asks you to cover the camera")
    add("--resume", action="store_true", help="go on with an interrupted calibration")


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("from files").add_argument
    add("--dark", type=Path, nargs="+", default=[], metavar="PATH", help="dark frames")
    add("--lit", type=Path, nargs="+", default=[], metavar="PATH", help="repeats of a lit scene")
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
