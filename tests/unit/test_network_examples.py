"""The examples of docs/examples that receive, each as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from stream_kit import SHAPE, make_header

from livedenoise.bus.context import new_context
from livedenoise.bus.publish import FramePublisher, MetricsPublisher
from livedenoise.core.status import StatusSnapshot

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "examples"


@contextmanager
def running(example: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / example), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], publish: Callable[[], None]) -> tuple[int, str]:
    """Publish until the example has enough; return its exit code and what it printed."""
    for _ in range(2000):
        publish()
        try:
            process.wait(0.005)
            break
        except subprocess.TimeoutExpired:
            continue
    text, errors = process.communicate(timeout=5)
    return process.returncode, text + errors


def test_watch_frames_prints_what_is_published() -> None:
    context = new_context()
    publisher = FramePublisher(context, "tcp://127.0.0.1:*")
    seqs = iter(range(10**6))

    def publish() -> None:
        header = make_header(next(seqs), stream="clean")
        publisher.publish(header, np.full(SHAPE, 41, np.uint16))

    with running("watch_frames.py", publisher.endpoint, "--frames", "5") as process:
        code, text = ended(process, publish)
    publisher.close()
    context.term()
    assert code == 0, text
    assert len(text.splitlines()) == 5
    assert "mean 41.0" in text


def test_watch_metrics_prints_what_is_published() -> None:
    from test_publish import snapshot_of

    context = new_context()
    publisher = MetricsPublisher(context, "tcp://127.0.0.1:*")
    snapshot: StatusSnapshot = snapshot_of(12.5)
    with running("watch_metrics.py", publisher.endpoint, "--snapshots", "3") as process:
        code, text = ended(process, lambda: publisher.publish(snapshot))
    publisher.close()
    context.term()
    assert code == 0, text
    assert text.count("12.5 s cam 200.0 fps in") == 3


@pytest.mark.parametrize("example", ["watch_frames.py", "watch_metrics.py"])
def test_silence_ends_with_a_word(example: str) -> None:
    with running(example, "tcp://127.0.0.1:9", "--timeout", "0.1") as process:
        text, errors = process.communicate(timeout=10)
    assert (process.returncode, text) == (1, "")
    assert "tcp://127.0.0.1:9" in errors
