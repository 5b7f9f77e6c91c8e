"""The training loop: it learns, its batches are reproducible, and it resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from livedenoise.core.errors import ConfigError  # noqa: E402
from livedenoise.train.fit import (  # noqa: E402
    FitSettings,
    Trainer,
    learning_rate,
    log_loss,
    make_batch,
    patch_errors,
)
from livedenoise.train.networks import KSigmaUNet  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny work is slower on several threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SETTINGS = FitSettings(steps=12, batch=4, patch_px=32, seed=3)


def _scenes() -> np.ndarray:
    rows, columns = np.mgrid[:48, :64]
    waves = [np.sin(rows / (2 + k)) * np.cos(columns / (3 + k)) for k in range(5)]
    return (0.5 + 0.5 * np.stack(waves)).astype(np.float16)


def _trainer(settings: FitSettings = SETTINGS) -> Trainer:
    torch.manual_seed(0)
    return Trainer(KSigmaUNet((16, 16, 16, 16)), _scenes(), settings)


def test_training_reduces_the_loss_on_batches_never_seen() -> None:
    settings = FitSettings(steps=40, batch=4, patch_px=32, peak_lr=4e-3, seed=3)
    trainer = _trainer(settings)
    noisy, truth = (torch.from_numpy(a) for a in make_batch(_scenes(), settings, 10_000))

    def loss() -> float:
        with torch.no_grad():
            return log_loss(patch_errors(trainer.network(noisy), truth), 1e-3).item()

    before = loss()
    reports = list(trainer.run())
    assert [r.step for r in reports] == list(range(1, 41))
    assert loss() < before - 0.2


def test_a_resumed_run_is_the_uninterrupted_run(tmp_path: Path) -> None:
    whole = _trainer()
    list(whole.run())
    first = _trainer()
    list(first.run(until=5))
    first.save(tmp_path / "checkpoint.pt")
    second = _trainer()
    second.resume(tmp_path / "checkpoint.pt")
    reports = list(second.run())
    assert reports[0].step == 6
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
        assert torch.equal(whole.average[name], second.average[name]), name


def test_a_checkpoint_of_another_run_is_refused_with_both_values(tmp_path: Path) -> None:
    _trainer().save(tmp_path / "checkpoint.pt")
    other = _trainer(FitSettings(steps=12, batch=8, patch_px=32, seed=3))
    with pytest.raises(ConfigError, match="batch = 4 there, 8 here"):
        other.resume(tmp_path / "checkpoint.pt")


def test_a_run_may_be_cut_short_ahead_and_is_then_the_run_planned_so(tmp_path: Path) -> None:
    short = msgspec.structs.replace(SETTINGS, decay_from=6, stop_at=9)
    planned = _trainer(short)
    list(planned.run())
    first = _trainer()
    list(first.run(until=6))
    first.save(tmp_path / "checkpoint.pt")
    cut = _trainer(short)
    cut.resume(tmp_path / "checkpoint.pt")
    assert [r.step for r in cut.run()] == [7, 8, 9]
    for name, value in planned.network.state_dict().items():
        assert torch.equal(value, cut.network.state_dict()[name]), name


def test_a_cut_that_lies_behind_is_refused(tmp_path: Path) -> None:
    first = _trainer()
    list(first.run(until=6))
    first.save(tmp_path / "checkpoint.pt")
    cut = _trainer(msgspec.structs.replace(SETTINGS, decay_from=5, stop_at=9))
    with pytest.raises(ConfigError, match="decay_from = 0 there, 5 here"):
        cut.resume(tmp_path / "checkpoint.pt")


def test_a_cut_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="stop_at = 4"):
        FitSettings(steps=12, decay_from=5, stop_at=4)


def test_the_average_differs_from_the_last_weights_and_follows_them() -> None:
    trainer = _trainer()
    fresh = {k: v.clone() for k, v in trainer.average.items()}
    list(trainer.run(until=6))
    moved = trainer.network.state_dict()["trunk.leave.weight"]
    average = trainer.average["trunk.leave.weight"]
    assert not torch.equal(average, fresh["trunk.leave.weight"])
    assert average.abs().mean() < moved.abs().mean()


def test_batches_are_pure_functions_of_seed_and_step() -> None:
    first, again = (make_batch(_scenes(), SETTINGS, 7) for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert first[0].shape == first[1].shape == (4, 1, 32, 32)
    assert not np.array_equal(first[0], make_batch(_scenes(), SETTINGS, 8)[0])


def test_scenes_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(ConfigError, match="patch_px = 64"):
        Trainer(KSigmaUNet((16, 16, 16, 16)), _scenes(), FitSettings(patch_px=64))


def test_the_raw_image_has_an_error_of_one_at_every_bright_level() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([100.0, 1000.0]).reshape(2, 1, 1, 1).expand(2, 1, 128, 128)
    errors = patch_errors(torch.poisson(truth, generator), truth)
    assert errors.tolist() == pytest.approx([1.0, 1.0], rel=0.05)


def test_the_learning_rate_is_one_cycle() -> None:
    settings = FitSettings(steps=1000, peak_lr=1e-3)
    rates = [learning_rate(settings, step) for step in range(1000)]
    top = int(np.argmax(rates))
    assert max(rates) == pytest.approx(1e-3)
    assert top in (79, 80)
    assert np.all(np.diff(rates[: top + 1]) >= 0)
    assert np.all(np.diff(rates[top + 1 :]) < 0)
    assert rates[-1] < 1e-8
    cut = msgspec.structs.replace(settings, decay_from=500, stop_at=600)
    assert [learning_rate(cut, s) for s in range(501)] == rates[:501]
    assert learning_rate(cut, 599) < 1e-3 * rates[500]
