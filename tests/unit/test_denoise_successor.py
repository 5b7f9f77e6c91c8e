"""A denoiser killed between two messages: every frame is published once, by it or its successor.

Both are stages in this process; "killed" is: its sockets go, and what waits in them with them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from stream_kit import FOR_EVER_NS, SHAPE, Stream, make_spec, open_stream

from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.reader import FrameReader
from livedenoise.bus.rescue import frames_left
from livedenoise.bus.ring import Ring
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.constants import CameraConstants
from livedenoise.daemon.rings import CLEAN, LineRings
from livedenoise.denoise.serve import DenoiseStage, DenoiseWiring
from livedenoise.denoise.serving import ServingSettings

SLOTS = 16
SERVING = ServingSettings(
    engine="identity",
    package="",
    precision="auto",
    threads=1,
    shape=SHAPE,
    dtype="<u2",
    bit_depth=16,
    roi_x=0,
    roi_y=0,
    binning=1,
    constants=CameraConstants(gain_e_per_adu=1.0, offset_adu=100.0, read_noise_e=1.0),
    calibration="",
    estimate_frames=4,
)


class KilledError(Exception):
    """The process ends here."""


class Denoiser:
    """A stage that is owed every frame of a stream, stepped by the test."""

    def __init__(self, stream: Stream, rings: LineRings, endpoint: str) -> None:
        self._stream = stream
        spec = rings.new(CLEAN, make_spec(SLOTS))
        self._clean = Ring.attach(spec)
        self._stage = DenoiseStage({})
        self._killed = False
        wiring = DenoiseWiring(
            raw_ring=stream.ring.spec,
            raw_endpoint=stream.writer.endpoint,
            clean_ring=spec,
            clean_endpoint=endpoint,
            lease_timeout_ns=FOR_EVER_NS,
            lossless=True,
            max_backlog=3,
            max_age_ns=FOR_EVER_NS,
            late_ns=FOR_EVER_NS,
            max_failures=1,
            serving=SERVING,
            after_seq=rings.clean_last_seq(),
        )
        settings = {name: getattr(wiring, name) for name in wiring.__struct_fields__}
        attaching = threading.Thread(target=self._stage.configure, args=(settings,))
        attaching.start()
        stream.serve_until(lambda: not attaching.is_alive())

    def work(self, until: Callable[[], bool]) -> None:
        def step() -> bool:
            self._stage.step()
            return until()

        self._stream.serve_until(step)

    @property
    def published(self) -> list[int]:
        """The numbers in its clean ring."""
        return [header.seq for header in frames_left(self._clean, -1)]

    def count(self, name: str) -> int:
        counts: dict[str, int] = self._stage.metrics()["counts"]
        return counts.get(name, 0)

    def kill(self) -> None:
        if self._killed:
            return
        self._killed = True
        for part in (self._stage._live_raw.reader, self._stage._live_writer):
            part._socket.close(linger=0)
        self._stage.close()

    def forget(self) -> None:
        self._clean.close()


class Line:
    """One raw stream, its denoisers one after the other, and their clean rings."""

    def __init__(self, stream: Stream, rings: LineRings, endpoints: Endpoints) -> None:
        self.stream = stream
        self.rings = rings
        self._endpoints = endpoints
        self._made: list[Denoiser] = []

    def denoiser(self) -> Denoiser:
        endpoint = self._endpoints.bind_to(f"clean{len(self._made)}")
        self._made.append(Denoiser(self.stream, self.rings, endpoint))
        return self._made[-1]

    def settled(self) -> bool:
        return self.stream.writer.table.owed == 0

    def close(self) -> None:
        for denoiser in self._made:
            denoiser.kill()
            denoiser.forget()


@pytest.fixture
def line() -> Iterator[Line]:
    """Give a line whose raw stream owes its denoiser every frame."""
    rings = LineRings()
    with open_stream(n_slots=SLOTS, expect=("denoise",)) as stream, Endpoints() as endpoints:
        line = Line(stream, rings, endpoints)
        try:
            yield line
        finally:
            line.close()
            rings.close()


@contextmanager
def no_release_is_sent() -> Iterator[None]:
    """Let a process be killed before the thread that sends its messages had its turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameReader, "release", FrameReader.is_whole)
        yield


def test_what_was_published_and_not_released_is_not_denoised_again(line: Line) -> None:
    line.stream.publish(6)
    first = line.denoiser()
    with no_release_is_sent():
        first.work(lambda: first.count("denoised") == 6)
    first.kill()
    line.stream.publish(3)
    second = line.denoiser()
    second.work(line.settled)
    assert (first.published, second.published) == ([*range(6)], [6, 7, 8])
    assert first.count("denoised") + second.count("denoised") == line.stream.writer.table.published
    assert second.count("already_denoised") == 6


def test_it_is_remembered_over_several_deaths(line: Line) -> None:
    with no_release_is_sent():
        for published in (4, 5):
            line.stream.publish(published)
            denoiser = line.denoiser()
            denoiser.work(lambda one=denoiser, n=published: one.count("denoised") == n)
            denoiser.kill()
        line.denoiser().kill()
    third = line.denoiser()
    line.stream.publish(1)
    third.work(line.settled)
    assert third.published == [9]


def test_a_frame_that_was_not_published_is_owed_to_the_successor(line: Line) -> None:
    def killed(*_: object) -> None:
        raise KilledError

    line.stream.publish(3)
    first = line.denoiser()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameWriter, "publish", killed)
        with pytest.raises(KilledError):
            first.work(lambda: False)
    # Whatever it has said arrives.
    line.stream.writer.service(50)
    first.kill()
    second = line.denoiser()
    second.work(line.settled)
    assert (first.published, second.published) == ([], [0, 1, 2])
