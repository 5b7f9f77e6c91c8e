"""The training loop: batches that are pure functions of (seed, step), and exact resumption.

Knows: optimiser, learning rate, loss, moving average of the weights, checkpoints.
Must not know: how scenes are drawn, what the network is made of, how progress is shown.

Checkpoints hold state dicts and plain values only, and are read with ``weights_only=True``. A run
that is resumed gives the same weights as one that was never interrupted: nothing random is kept
between steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from livedenoise.core.errors import ConfigError
from livedenoise.train.synthesis import FloatArray, draw_conditions, synthesize

Scenes = npt.NDArray[np.float16]
CHECKPOINT_VERSION = 1
_AHEAD = 2


class FitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the result of a training, beside the scenes.

    ``peak_lr`` is the top of one cycle over ``steps``: a cosine up over ``warmup`` (share of the
    steps), a cosine down to zero (Smith & Topin, 2019). ``decay_from`` and ``stop_at``, where not
    0, cut it short: from the first step on the rate falls to zero at the second. A run may be cut
    short while it is under way, since nothing before ``decay_from`` changes. ``loss_floor`` is the
    error, in units of the noise variance, below which a patch stops counting more.
    """

    steps: int = 20000
    batch: int = 16
    patch_px: int = 128
    peak_lr: float = 2e-3
    warmup: float = 0.08
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    loss_floor: float = 1e-3
    seed: int = 1
    decay_from: int = 0
    stop_at: int = 0

    def __post_init__(self) -> None:
        """Refuse a cut that is none."""
        whole = self.decay_from == self.stop_at == 0
        if not whole and not 0 < self.decay_from < self.stop_at <= self.steps:
            raise ConfigError(
                f"decay_from = {self.decay_from} and stop_at = {self.stop_at} must rise from above "
                f"0 to at most steps = {self.steps}, or both be 0"
            )

    @property
    def last_step(self) -> int:
        """Return the step after which the run is done."""
        return self.stop_at or self.steps


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """One finished step: loss, learning rate, and how far the error fell below the noise (dB)."""

    step: int
    loss: float
    lr: float
    gain_db: float


def make_batch(scenes: Scenes, settings: FitSettings, step: int) -> tuple[FloatArray, FloatArray]:
    """Return noisy patches and truths ``(N, 1, Y, X)`` of one step: random crops, flips, turns."""
    rng = np.random.default_rng((settings.seed, step))
    clean = np.stack([_crop(scenes, settings.patch_px, rng) for _ in range(settings.batch)])
    draw = draw_conditions(rng, settings.batch)
    noisy, truth = synthesize(clean, draw, rng)
    return noisy[:, None], truth[:, None]


def _crop(scenes: Scenes, side: int, rng: np.random.Generator) -> FloatArray:
    count, height, width = scenes.shape
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    patch = scenes[rng.integers(count), y : y + side, x : x + side].astype(np.float32)
    turned = np.rot90(patch, int(rng.integers(4)))
    return np.ascontiguousarray(turned.T if rng.random() < 0.5 else turned)


def patch_errors(estimate: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of ``(estimate - truth)**2 / (truth + 1)`` of each patch, shape (N,).

    In ``u`` the variance of the noise equals the truth: 1 means "as wrong as the raw image".
    """
    weights = 1.0 / (truth.clamp(min=0) + 1.0)
    return ((estimate - truth).square() * weights).mean(dim=(1, 2, 3))


def log_loss(errors: Tensor, floor: float) -> Tensor:
    """Return the mean logarithm of the patches' errors: every light level weighs alike.

    A plain mean would be the bright patches' error alone, since dim ones can be cleaned far more.
    """
    return torch.log(errors + floor).mean()


def learning_rate(settings: FitSettings, step: int) -> float:
    """Return the learning rate of a step: one cycle of two cosines, cut short where asked."""
    if settings.stop_at and step >= settings.decay_from:
        share = (step - settings.decay_from) / (settings.stop_at - settings.decay_from)
        return _cycle(settings, settings.decay_from) * (0.5 + 0.5 * math.cos(math.pi * share))
    return _cycle(settings, step)


def _cycle(settings: FitSettings, step: int) -> float:
    rise = max(1, round(settings.warmup * settings.steps))
    if step < rise:
        share = 0.5 - 0.5 * math.cos(math.pi * (step + 1) / rise)
        return settings.peak_lr * (0.04 + 0.96 * share)
    share = (step - rise) / max(1, settings.steps - rise)
    return settings.peak_lr * (0.5 + 0.5 * math.cos(math.pi * share))


class Trainer:
    """One training run, resumable at any step.

    Parameters
    ----------
    network : nn.Module
        Maps ``(N, 1, Y, X)`` in ``u`` to the same.
    scenes : ndarray
        Clean scenes (S, Y, X), float16, 1.0 at the brightest 1 %; may be a memory map.
    settings : FitSettings
        The run.
    """

    def __init__(self, network: nn.Module, scenes: Scenes, settings: FitSettings) -> None:
        if min(scenes.shape[1:]) < settings.patch_px:
            raise ConfigError(
                f"scenes of {scenes.shape[1:]} pixels are smaller than patch_px = "
                f"{settings.patch_px}",
                "render larger scenes or train on smaller patches",
            )
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.scenes = scenes
        self.settings = settings
        self.step = 0
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.peak_lr, weight_decay=settings.weight_decay
        )

    def run(self, until: int | None = None) -> Iterator[StepReport]:
        """Train up to step ``until`` (default: all steps), yielding after every step."""
        end = self.settings.last_step if until is None else min(until, self.settings.last_step)
        self.network.train()
        for noisy, truth in self._batches(end):
            yield self._train_step(torch.from_numpy(noisy), torch.from_numpy(truth))

    def _batches(self, end: int) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Prepare batches in a second thread, at most ``_AHEAD`` ahead (numpy frees the lock)."""
        waiting: deque[Future[tuple[FloatArray, FloatArray]]] = deque()
        upcoming = iter(range(self.step, end))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
            while True:
                while len(waiting) < _AHEAD and (step := next(upcoming, None)) is not None:
                    waiting.append(pool.submit(make_batch, self.scenes, self.settings, step))
                if not waiting:
                    return
                yield waiting.popleft().result()

    def _train_step(self, noisy: Tensor, truth: Tensor) -> StepReport:
        lr = learning_rate(self.settings, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        errors = patch_errors(self.network(noisy), truth)
        loss = log_loss(errors, self.settings.loss_floor)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        with torch.no_grad():
            raw = log_loss(patch_errors(noisy, truth), self.settings.loss_floor)
        gain_db = 10 / math.log(10) * (raw - loss).item()
        return StepReport(step=self.step, loss=loss.item(), lr=lr, gain_db=gain_db)

    def _update_average(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)

    def save(self, path: Path) -> None:
        """Write a checkpoint: to a temporary name first, so that a kill leaves the old one."""
        state = {
            "version": CHECKPOINT_VERSION,
            "step": self.step,
            "settings": msgspec.to_builtins(self.settings),
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        temporary = path.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same run.

        Raises
        ------
        ConfigError
            If it was written by a run with other settings; the message names what differs.
        """
        state = torch.load(path, weights_only=True)
        step = int(state["step"])
        ours: dict[str, object] = msgspec.to_builtins(self.settings)
        expected = {"version": CHECKPOINT_VERSION, **ours}
        theirs = {"version": state["version"], "decay_from": 0, "stop_at": 0, **state["settings"]}
        free = {"decay_from", "stop_at"} if self._cut_lies_ahead(theirs, step) else set()
        differing = [k for k in expected if k not in free and expected[k] != theirs.get(k)]
        if differing:
            pairs = ", ".join(f"{k} = {theirs.get(k)} there, {expected[k]} here" for k in differing)
            raise ConfigError(
                f"{path}: checkpoint of another run at step {step}: {pairs}",
                "give the same options, or start afresh in another folder",
            )
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = step

    def _cut_lies_ahead(self, theirs: dict[str, object], step: int) -> bool:
        """Return whether neither run had begun to fall short at ``step``: both are one so far."""
        cuts = (theirs["decay_from"], self.settings.decay_from)
        return all(isinstance(cut, int) and (cut == 0 or cut >= step) for cut in cuts)
