# ruff: noqa: D102, S101  (tests: their names say what they show)
"""The conformance kit of engines: what ``core.engine.Engine`` promises, as tests.

A test module subclasses ``EngineKit`` (any engine) or ``ModelEngineKit`` of ``engine_model_kit``
(engines that run a model package) and names the engine in ``make``. Knows: the contract. Must not
know: any one engine.

Example
-------
>>> class TestIdentity(EngineKit):
...     def make(self):
...         return IdentityEngine()
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from livedenoise.core.clock import now_ns
from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import MAX_IN_FLIGHT, Done, Engine, EngineInfo, FrameView, ServeRequest
from livedenoise.core.errors import DenoiseError
from livedenoise.core.frame import Frame
from livedenoise.testing.tiny_package import Kind, write_tiny_package

CONSTANTS = CameraConstants(gain_e_per_adu=0.5, offset_adu=100.0, read_noise_e=1.5)
PATIENCE_S = 20.0
_GUARD_BYTES = 64
_GUARD = 0xA5
_BITS = {"|u1": 8, "<u2": 16, "<f4": 16}


class Opened:
    """An open engine and how to run frames through it."""

    def __init__(self, engine: Engine, request: ServeRequest, info: EngineInfo) -> None:
        self.engine, self.request, self.info = engine, request, info

    def run(self, pixels: Frame, seq: int = 0) -> tuple[Frame, Done]:
        """Return the output and outcome of one frame."""
        out = np.zeros(self.request.shape, dtype=self.request.out_dtype)
        self.engine.submit(FrameView(seq=seq, pixels=pixels), out, reset=False)
        return out, self.next_done()

    def next_done(self) -> Done:
        """Return the next finished frame; fail after a while without one."""
        deadline = now_ns() + int(PATIENCE_S * 1e9)
        while now_ns() < deadline:
            done = self.engine.poll(0.2)
            if done is not None:
                return done
        pytest.fail("the engine finished nothing")


def make_frame(shape: tuple[int, int], dtype: str, seed: int = 0) -> Frame:
    """Return counts spread around ``CONSTANTS.offset_adu``, some of them below it."""
    rng = np.random.default_rng(seed)
    counts = 90 + 60 * rng.random(shape)
    if dtype == "<f4":
        return counts.astype(np.float32)
    return np.rint(counts).astype(np.dtype(dtype))


class EngineKit:
    """Tests any engine must pass."""

    kind: Kind | None = None

    def make(self) -> Engine:
        """Return a fresh engine, not open."""
        raise NotImplementedError

    def request(self, folder: Path, **changes: Any) -> ServeRequest:  # noqa: ANN401
        """Return a request for 32 x 48 frames of 16 bits, with ``changes``."""
        dtype = changes.get("dtype", "<u2")
        values: dict[str, Any] = {
            "shape": (32, 48),
            "dtype": dtype,
            "out_dtype": changes.get("out_dtype", dtype),
            "bit_depth": _BITS[dtype],
            "constants": CONSTANTS,
        }
        if "package" not in changes and self.kind is not None:
            values["package"] = write_tiny_package(folder / self.kind, self.kind)
        return ServeRequest(**(values | changes))

    @contextmanager
    def opened(self, folder: Path, **changes: Any) -> Iterator[Opened]:  # noqa: ANN401
        """Open an engine for the time of a ``with`` block."""
        engine, request = self.make(), self.request(folder, **changes)
        assert engine.unsupported(request) is None
        info = engine.open(request)
        try:
            yield Opened(engine, request, info)
        finally:
            engine.close()

    @pytest.mark.parametrize(
        ("shape", "dtype"),
        [
            ((1, 1), "<u2"),
            ((7, 13), "|u1"),
            ((64, 64), "|u1"),
            ((64, 64), "<u2"),
            ((33, 50), "<u2"),
            ((33, 50), "<f4"),
        ],
    )
    def test_every_size_and_type_comes_out_finite(
        self, tmp_path: Path, shape: tuple[int, int], dtype: str
    ) -> None:
        with self.opened(tmp_path, shape=shape, dtype=dtype) as opened:
            out, done = opened.run(make_frame(shape, dtype))
        assert done.error == ""
        assert out.shape == shape
        assert out.dtype == np.dtype(dtype)
        assert np.isfinite(out).all()
        assert out.any()

    def test_info_says_what_is_open(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            info = opened.info
        assert info.in_flight == MAX_IN_FLIGHT
        assert info.engine
        assert info.version
        assert info.open_ms >= 0

    def test_three_frames_in_flight_come_back_in_order(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            frames = [make_frame((32, 48), "<u2", seed) for seed in range(3)]
            alone = [opened.run(pixels)[0] for pixels in frames]
            outs = [np.zeros((32, 48), dtype=np.uint16) for _ in range(3)]
            for _ in range(4):
                for seq, (pixels, out) in enumerate(zip(frames, outs, strict=True)):
                    opened.engine.submit(FrameView(seq=seq, pixels=pixels), out, reset=False)
                assert [opened.next_done().seq for _ in range(3)] == [0, 1, 2]
                for out, expected in zip(outs, alone, strict=True):
                    np.testing.assert_array_equal(out, expected)
                    out.fill(0)

    def test_a_fourth_frame_in_flight_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            pixels = make_frame((32, 48), "<u2")
            outs = [np.zeros_like(pixels) for _ in range(4)]
            for seq in range(3):
                opened.engine.submit(FrameView(seq=seq, pixels=pixels), outs[seq], reset=False)
            with pytest.raises(DenoiseError, match="in flight"):
                opened.engine.submit(FrameView(seq=3, pixels=pixels), outs[3], reset=False)
            assert [opened.next_done().seq for _ in range(3)] == [0, 1, 2]

    def test_times_enclose_the_inference(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            before = now_ns()
            _, done = opened.run(make_frame((32, 48), "<u2"))
            after = now_ns()
        assert before <= done.t_start_ns <= done.t_end_ns <= after

    def test_poll_without_a_frame_gives_none(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            assert opened.engine.poll(0.0) is None

    @pytest.mark.parametrize(
        ("pixels", "out"),
        [
            (np.zeros((32, 47), np.uint16), np.zeros((32, 48), np.uint16)),
            (np.zeros((32, 48), np.uint8), np.zeros((32, 48), np.uint16)),
            (np.zeros((32, 48), np.uint16), np.zeros((31, 48), np.uint16)),
            (np.zeros((32, 48), np.uint16), np.zeros((32, 48), np.float32)),
            (np.zeros((32, 96), np.uint16)[:, ::2], np.zeros((32, 48), np.uint16)),
            (np.zeros((32, 48), np.uint16), np.zeros((48, 32), np.uint16).T),
        ],
    )
    def test_a_wrong_array_is_refused_and_the_engine_goes_on(
        self, tmp_path: Path, pixels: Frame, out: Frame
    ) -> None:
        with self.opened(tmp_path) as opened:
            with pytest.raises(DenoiseError):
                opened.engine.submit(FrameView(seq=0, pixels=pixels), out, reset=False)
            assert opened.run(make_frame((32, 48), "<u2"), seq=1)[1].error == ""

    def test_reset_is_accepted(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            pixels = make_frame((32, 48), "<u2")
            out = np.zeros_like(pixels)
            opened.engine.submit(FrameView(seq=9, pixels=pixels), out, reset=True)
            assert opened.next_done().error == ""

    def test_a_read_only_frame_is_read_and_left_alone(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            pixels = make_frame((32, 48), "<u2")
            before = pixels.copy()
            pixels.flags.writeable = False
            assert opened.run(pixels)[1].error == ""
        np.testing.assert_array_equal(pixels, before)

    @pytest.mark.parametrize("dtype", ["|u1", "<u2", "<f4"])
    def test_nothing_is_written_around_the_output(self, tmp_path: Path, dtype: str) -> None:
        shape = (31, 45)
        with self.opened(tmp_path, shape=shape, dtype=dtype) as opened:
            expected, _ = opened.run(make_frame(shape, dtype))
            buffer = np.full(expected.nbytes + 2 * _GUARD_BYTES, _GUARD, dtype=np.uint8)
            out = buffer[_GUARD_BYTES:-_GUARD_BYTES].view(dtype).reshape(shape)
            view = FrameView(seq=0, pixels=make_frame(shape, dtype))
            opened.engine.submit(view, out, reset=False)
            assert opened.next_done().error == ""
        np.testing.assert_array_equal(out, expected)
        assert (buffer[:_GUARD_BYTES] == _GUARD).all()
        assert (buffer[-_GUARD_BYTES:] == _GUARD).all()

    def test_close_twice_with_frames_in_flight_leaves_no_thread(self, tmp_path: Path) -> None:
        before = set(threading.enumerate())
        with self.opened(tmp_path) as opened:
            pixels, out = make_frame((32, 48), "<u2"), np.zeros((32, 48), np.uint16)
            opened.engine.submit(FrameView(seq=0, pixels=pixels), out, reset=False)
            opened.engine.close()
            opened.engine.close()
            assert opened.engine.poll(0.0) is None
            with pytest.raises(DenoiseError, match="not open"):
                opened.engine.submit(FrameView(seq=1, pixels=pixels), out, reset=False)
        assert {t for t in threading.enumerate() if t.is_alive()} <= before

    def test_a_closed_engine_opens_again(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as opened:
            opened.engine.close()
            opened.engine.open(opened.request)
            assert opened.run(make_frame((32, 48), "<u2"))[1].error == ""

    @pytest.mark.parametrize(
        "changes",
        [
            {"dtype": "<u4", "out_dtype": "<u4", "bit_depth": 16},
            {"bit_depth": 17},
            {"shape": (0, 4)},
            {"dtype": "|u1", "out_dtype": "|u1", "bit_depth": 12},
        ],
    )
    def test_impossible_requests_are_unsupported(
        self, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        request = msgspec.structs.replace(self.request(tmp_path), **changes)
        assert self.make().unsupported(request)
        with pytest.raises(DenoiseError):
            self.make().open(request)
