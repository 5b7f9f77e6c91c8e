"""The ``start`` fixture: live runs that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from livedenoise.core.config import Config
from livedenoise.daemon.options import RunOptions
from livedenoise.testing.live import LiveRun, small_config


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LiveRun]]:
    """Start runs that end with the test."""
    runs: list[LiveRun] = []

    def begin(config: Config | None = None, **options: Any) -> LiveRun:
        run = LiveRun(config or small_config(), RunOptions(out=tmp_path / "runs", **options))
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.end()
