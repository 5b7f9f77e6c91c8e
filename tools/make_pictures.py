"""Make the pictures of README.md from real runs of the command line.

    python tools/make_pictures.py --real ../shared/data

Writes ``docs/images/demo.png`` (raw, denoised, true signal of a simulated run), ``status.svg`` and
``dashboard.svg`` (the dashboard at 80x24 and 200x60) and, with ``--real``, ``real/real.png``:
replayed real recordings, raw and denoised. ``--only dashboard`` makes only the second kind.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import msgspec
import numpy as np
import numpy.typing as npt
import tifffile
from bench_end_to_end import livedenoise

from livedenoise.acquire.sources import open_source
from livedenoise.core.config import load_config
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.run import Daemon
from livedenoise.hardware import find_config
from livedenoise.view.export import export_svg
from livedenoise.view.layout import Choice

mpl.use("Agg")
from matplotlib import pyplot as plt

DASHBOARD_SECONDS = 40.0
"""Long enough for every moving average and for curves that say something."""
IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
Image = npt.NDArray[Any]

NOTICE = """# Sources of real.png

Top: lysosomes of a live cell, spinning disk. MIT licence,
github.com/BoHuangLab/Transfer-Learning-Denoising.

Bottom: nuclei of fixed BPAE cells, confocal, field of view 1 of the FMD data set: Y. Zhang et al.,
"A Poisson-Gaussian Denoising Dataset with Real Fluorescence Microscopy Images", CVPR 2019. Licence
CC BY-SA 4.0; this picture, adapted from it (cropped, denoised, scaled), is under the same licence.
"""


def main() -> None:
    """Make every picture that can be made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="folder of the real recordings")
    parser.add_argument("--only", choices=("dashboard",), help="make only these")
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.only is None:
            demo_picture(Path(folder))
        dashboard_pictures(Path(folder))
        if arguments.real:
            real_picture(arguments.real.resolve(), Path(folder))


def demo_picture(folder: Path) -> None:
    """Raw, denoised and true frame of the demo's camera."""
    text = find_config("demo").read_text(encoding="utf-8")
    config = folder / "demo.toml"
    config.write_text(text.replace("[[camera]]", "[[camera]]\nsave_truth = true", 1))
    summary = livedenoise(["run", str(config), "--frames", "40", "--json"], folder)
    run = folder / summary["run_dir"]
    page, seq = _last_denoised(run)
    raw = _pages(run, "raw")[seq]
    truth_file = next(run.glob("truth/*/truth.tif"))
    with tifffile.TiffFile(truth_file) as tiff:
        truth = tiff.pages[seq % len(tiff.pages)].asarray()
    # A quarter of the frame: at full size the noise would vanish in the scaling.
    images = [image[:256, :256] for image in (raw, _pages(run, "clean")[page], truth)]
    _panel([images], [["raw", "denoised live", "true signal"]], IMAGES / "demo.png")


def dashboard_pictures(folder: Path) -> None:
    """Export the dashboard of a run of the demo, four fifths through, as SVG, small and large."""
    options = RunOptions(seconds=DASHBOARD_SECONDS, out=folder / "status")
    snapshots: list[StatusSnapshot] = []
    # At rest: figures that compare frames are grey while the scene moves.
    text = find_config("demo").read_text(encoding="utf-8")
    config = folder / "still.toml"
    config.write_text(text.replace("motion_px_per_s = 4.0", "motion_px_per_s = 0.0"))
    daemon = Daemon(load_config(config), options)
    daemon.run(snapshots.append)
    chosen = snapshots[int(0.8 * len(snapshots))]
    shown = msgspec.structs.replace(chosen, run_dir="runs/...-demo")
    choice = Choice(keys=True)
    for name, width, height in (("status", 80, 24), ("dashboard", 200, 60)):
        svg = export_svg(shown, width, height, choice)
        (IMAGES / f"{name}.svg").write_text(svg, encoding="utf-8")


def real_picture(data: Path, folder: Path) -> None:
    """Replay real recordings and show one frame of each, raw and denoised."""
    rows = []
    for recording, crop in (
        (data / "lysosome_confocal" / "1.tif", slice(0, 128)),
        (data / "fmd_confocal_bpae_b_fov1" / "raw.tif", slice(0, 256)),
    ):
        arguments = ["run", "replay", "--input", str(recording), "--frames", "20", "--json"]
        run = folder / livedenoise(arguments, folder)["run_dir"]
        rows.append([_pages(run, s)[10][crop, crop] for s in ("raw", "clean")])
    target = IMAGES / "real"
    target.mkdir(exist_ok=True)
    names = [["lysosomes, raw", "denoised"], ["BPAE nuclei, raw", "denoised"]]
    _panel(rows, names, target / "real.png")
    (target / "NOTICE.md").write_text(NOTICE, encoding="utf-8")


def _last_denoised(run: Path) -> tuple[int, int]:
    """Return page and seq of the last frame of the denoised stream."""
    source = open_source(run, stream="clean")
    last = source.n_frames - 1
    source.close()
    lines = next(run.glob("clean/*/frames.jsonl")).read_text(encoding="utf-8").splitlines()
    frames = [line for line in map(json.loads, lines) if "page" in line]
    return last, int(frames[-1]["seq"])


def _pages(run: Path, stream: str) -> Image:
    stack: Image = tifffile.imread(sorted(run.glob(f"{stream}/*/part-*.tif")))
    return stack.reshape(-1, *stack.shape[-2:])


def _panel(rows: list[list[Image]], names: list[list[str]], path: Path) -> None:
    figure, axes = plt.subplots(len(rows), len(rows[0]), squeeze=False)
    figure.set_size_inches(4 * len(rows[0]), 4.2 * len(rows))
    for images, titles, line in zip(rows, names, axes, strict=True):
        # One contrast for raw and denoised: what looks brighter is brighter.
        low, high = np.percentile(images[1], (1, 99.8))
        for image, title, axis in zip(images, titles, line, strict=True):
            limits = (low, high)
            if title.startswith("true"):
                limits = tuple(np.percentile(image, (1, 99.8)))
            axis.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1])
            axis.set_title(title)
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
