"""Train the shipped model from nothing but simulated scenes, and write its package.

    python tools/train_shipped_model.py --steps 30000

Renders the scenes once into a cache, trains (Ctrl-C stops at a checkpoint, the same command goes on
from it), then writes the bioimage.io package. No recorded image is read.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from livedenoise.imaging.scenes import SceneKind, render_scene
from livedenoise.train.export import PackageFacts, write_package
from livedenoise.train.fit import FitSettings, Scenes, Trainer
from livedenoise.train.networks import KSigmaUNet

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "livedenoise" / "models" / "realtime-m"
SCENE_PX = 256
SCENES_VERSION = 1
"""Raised when the scenes change, so that an old cache is not taken for the new one."""
KINDS: tuple[SceneKind, ...] = ("tubules", "granules", "cells", "mixed")
FLAT_EVERY = 25
"""One scene in so many is empty but for its background: nothing may be invented there."""
PSF_RANGE_PX = (0.6, 2.5)
CHECKPOINT_EVERY = 500

console = Console()


def parse_arguments() -> argparse.Namespace:
    """Return the options; every default is that of the shipped model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    defaults = FitSettings()
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--patch", type=int, default=defaults.patch_px, help="pixels")
    parser.add_argument("--lr", type=float, default=defaults.peak_lr, help="top of the cycle")
    parser.add_argument("--decay-from", type=int, default=0, help="cut the cycle short from here")
    parser.add_argument("--stop-at", type=int, default=0, help="... to zero at this step")
    parser.add_argument("--scenes", type=int, default=1000, help="number of simulated scenes")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "livedenoise")
    parser.add_argument("--work", type=Path, help="checkpoint folder (default: in the cache)")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="package folder, replaced")
    return parser.parse_args()


def progress_bar() -> Progress:
    """Return a bar with count, rate note, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def load_scenes(cache: Path, count: int, seed: int) -> Scenes:
    """Return ``count`` clean scenes (S, Y, X), float16; rendered on the first call."""
    path = cache / f"scenes-v{SCENES_VERSION}-{count}-{seed}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes = render_scenes(count, seed)
        temporary = path.with_name(path.stem + ".partial.npy")
        np.save(temporary, scenes, allow_pickle=False)
        temporary.replace(path)
    scenes = np.load(path, mmap_mode="r", allow_pickle=False)
    console.print(f"scenes: {path} {scenes.shape}")
    return scenes


def render_scenes(count: int, seed: int) -> Scenes:
    """Draw scenes of every kind in turn, each with its own seed and point spread."""
    scenes = np.empty((count, SCENE_PX, SCENE_PX), np.float16)
    with progress_bar() as bar:
        task = bar.add_task("scenes", total=count, note="")
        for index in range(count):
            scenes[index] = render_one(index, seed)
            bar.advance(task)
    return scenes


def render_one(index: int, seed: int) -> np.ndarray:
    """Return scene ``index`` (Y, X), 1.0 at the brightest 1 %."""
    rng = np.random.default_rng((seed, index))
    psf = float(np.exp(rng.uniform(*np.log(PSF_RANGE_PX))))
    kind = "flat" if index % FLAT_EVERY == 0 else KINDS[index % len(KINDS)]
    return render_scene(kind, (SCENE_PX, SCENE_PX), rng, psf_sigma_px=psf)


def train(trainer: Trainer, checkpoint: Path) -> None:
    """Run the trainer to its last step, saving as it goes and when interrupted."""
    start, begun = trainer.step, time.perf_counter()
    gain = loss = 0.0
    with progress_bar() as bar:
        total = trainer.settings.last_step
        task = bar.add_task("training", total=total, completed=start, note="")
        try:
            for report in trainer.run():
                weight = 0.02 if report.step > start + 50 else 0.2
                gain += weight * (report.gain_db - gain)
                loss += weight * (report.loss - loss)
                rate = (report.step - start) / (time.perf_counter() - begun)
                note = f"{rate:.1f}/s loss {loss:.3f} gain {gain:.2f} dB"
                bar.update(task, completed=report.step, note=note)
                if report.step % CHECKPOINT_EVERY == 0:
                    trainer.save(checkpoint)
                    print_log(report.step, note)
        finally:
            trainer.save(checkpoint)


def print_log(step: int, note: str) -> None:
    """Leave a line where the output is a file and no bar can be seen."""
    if not console.is_terminal:
        print(f"{time.strftime('%H:%M:%S')} step {step} {note}", flush=True)


def command_line(options: argparse.Namespace) -> str:
    """Return the command that makes this model again, without machine paths."""
    cut = f" --decay-from {options.decay_from} --stop-at {options.stop_at}"
    cut = cut if options.stop_at else ""
    return (
        f"python tools/train_shipped_model.py --steps {options.steps} --batch {options.batch} "
        f"--patch {options.patch} --lr {options.lr:g} --scenes {options.scenes} "
        f"--seed {options.seed}{cut}"
    )


def main() -> None:
    """Render, train, export."""
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    scenes = load_scenes(options.cache, options.scenes, options.seed)
    settings = FitSettings(
        steps=options.steps,
        batch=options.batch,
        patch_px=options.patch,
        peak_lr=options.lr,
        seed=options.seed,
        decay_from=options.decay_from,
        stop_at=options.stop_at,
    )
    network = KSigmaUNet()
    trainer = Trainer(network, scenes, settings)
    work = options.work or options.cache / f"realtime-m-{options.steps}-{options.seed}"
    work.mkdir(parents=True, exist_ok=True)
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
        console.print(f"resumed {checkpoint} at step {trainer.step}")
    train(trainer, checkpoint)
    network.load_state_dict(trainer.average)
    facts = PackageFacts(training_command=command_line(options), training_steps=trainer.step)
    write_package(network.eval(), options.out, facts)
    console.print(f"package: {options.out}")


if __name__ == "__main__":
    main()
