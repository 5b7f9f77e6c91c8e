"""What the tests of recordings share: small stacks, and the check that one comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livedenoise.acquire.sources import open_source
from livedenoise.core.errors import ConfigError
from livedenoise.core.source import FrameSource

SHAPE = (8, 10)


def make_stack(n: int, dtype: str = "<u2", shape: tuple[int, int] = SHAPE) -> np.ndarray:
    values = np.arange(n * shape[0] * shape[1]).reshape(n, *shape) * 7 + 3
    return (values % 251).astype(dtype)


def read_all(source: FrameSource) -> np.ndarray:
    return np.stack([source.read(index) for index in range(source.n_frames)])


def assert_source(path: Path, expected: np.ndarray, **options: Any) -> tuple[str, ...]:
    """Check every frame and the facts; return the notes."""
    with open_source(path, **options) as source:
        assert source.shape == expected.shape[1:]
        assert source.n_frames == len(expected)
        frames = read_all(source)
        assert frames.dtype.str == source.dtype
        assert source.read(0).flags.c_contiguous
        np.testing.assert_array_equal(frames, expected)
        # In any order, and into an array that is given.
        out = np.empty(source.shape, source.dtype)
        source.read_into(len(expected) - 1, out)
        np.testing.assert_array_equal(out, expected[-1])
        with pytest.raises(ConfigError, match=f"frame {len(expected)} of {len(expected)} does not"):
            source.read(len(expected))
        return source.notes
