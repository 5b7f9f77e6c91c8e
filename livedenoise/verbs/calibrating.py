"""``calibrate``: measure a camera's gain, offset and noise, from itself or from files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livedenoise.core.errors import ConfigError
from livedenoise.verbs.calibrate_options import add_options, require_options_of
from livedenoise.verbs.common import Verbs, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from livedenoise.calibrate.command import Outcome
    from livedenoise.calibrate.results import Known
    from livedenoise.calibrate.settings import AcquireSettings
    from livedenoise.core.config import CameraConfig
    from livedenoise.core.microscope import Microscope
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
        require_options_of(arguments, "maps")
        return _from_maps(arguments)
    config = _config_path(arguments)
    require_options_of(arguments, "files" if config is None else "camera")
    with ProgressView(console) as view:
        if config is None:
            return _from_files(arguments, view, console)
        return _from_camera(arguments, config, view, console)


def _config_path(arguments: argparse.Namespace) -> Path | None:
    """Return the configuration that is meant; None where files are."""
    from livedenoise.hardware import find_config

    inputs: list[Path] = arguments.inputs
    configs = [path for path in inputs if path.suffix == ".toml"]
    if configs and (len(inputs) > 1 or arguments.dark or arguments.lit):
        raise ConfigError(
            f"{configs[0]} is a configuration, and files or folders are given beside it",
            "give one configuration (its camera takes the frames), or files and folders, not both",
        )
    if len(inputs) == 1 and (configs or not inputs[0].exists()):
        if inputs[0].suffix and not configs:
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

    camera = _camera_of(config, arguments.camera)
    say = _sayer(console)
    say(SCENE)
    try:
        return calibrate_camera(
            partial(_microscope_of, camera, arguments.out),
            _settings(arguments),
            arguments.out,
            known=_known(arguments),
            say=say,
            ask=_asker(view, console) if sys.stdin.isatty() and not arguments.json else None,
            configuration=camera.model_dump(),
            resume=arguments.resume,
            on_progress=view,
        )
    except KeyboardInterrupt:
        kept = partial_folder(arguments.out)
        if kept.exists():
            say(f"finished series are kept in {kept}: the same command with --resume goes on")
        raise


def _microscope_of(camera: CameraConfig, out: Path) -> Microscope:
    """Return the microscope, with a journal beside the calibration for whoever goes on."""
    from livedenoise.microscope.choose import open_microscope_for

    folder = out.resolve().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made: {error}", "choose another folder with --out"
        ) from error
    return open_microscope_for(camera, journal=folder / f".{out.resolve().name}-microscope.json")


def _sayer(console: Console) -> Callable[[str], None]:
    return partial(console.print, highlight=False, markup=False, soft_wrap=True)


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
    from livedenoise.calibrate.settings import AcquireSettings, parse_light

    given = {
        "dark_frames": arguments.dark_frames,
        "dark_exposures_us": arguments.dark_exposures,
        "levels": arguments.levels,
        "frames": arguments.frames,
        "exposure_us": _us(arguments.exposure),
        "max_exposure_us": _us(arguments.max_exposure),
        "settle_ms": arguments.settle,
        "discard": arguments.discard,
    }
    light = None
    if arguments.light is not None:
        off = arguments.light_off or ""
        light = parse_light(arguments.light, off=off, linear=arguments.light_linear)
    return AcquireSettings(
        **{name: value for name, value in given.items() if value is not None},
        light=light,
        dark_by_hand=arguments.dark_by_hand,
    )


def _us(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)


def _from_files(
    arguments: argparse.Namespace, on_progress: OnProgress, console: Console
) -> Outcome:
    from livedenoise.calibrate.command import calibrate_files

    return calibrate_files(
        arguments.inputs,
        arguments.out,
        known=_known(arguments),
        darks=arguments.dark,
        lights=arguments.lit,
        bit_depth=arguments.bit_depth,
        camera=arguments.camera or "",
        say=_sayer(console),
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
        "taken_as_dark": list(outcome.dark_files),
        "taken_as_lit": list(outcome.lit_files),
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
    add("--json", action="store_true", help="print one JSON object and nothing else on stdout")
    add_options(parser)
