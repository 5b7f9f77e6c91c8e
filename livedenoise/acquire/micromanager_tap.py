"""A camera that somebody else runs in Micro-Manager's window: its live view, watched.

Knows: the life cycle of ``core.camera.Camera``, what a tap may ask of a core. Must not know: how
new frames are found (``micromanager.peeking``), messages of the bridge.

Nothing is changed, set, started, stopped or taken out of the buffer. The live view may be off, be
switched off and on again, and get another region, binning or exposure at any time: a frame of
another format is one of a new epoch. What is looked at too late is counted as lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from livedenoise.acquire.micromanager_watch import MOST_AT_ONCE, Watch
from livedenoise.acquire.pacing import do_nothing
from livedenoise.core.camera import WAITS, CameraInfo, Captured, GetSlot, Prepared, StreamRequest
from livedenoise.core.check_facts import Finding
from livedenoise.core.clock import now_ns
from livedenoise.core.errors import CameraError
from livedenoise.core.frame import Frame, FrameFlags, dtype_in_words, frame_nbytes, max_count
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager.java_core import JavaCore, connect_java
from livedenoise.micromanager.peeking import Seen
from livedenoise.micromanager.placing import binning_now
from livedenoise.micromanager.setup import Format, format_now
from livedenoise.micromanager.tags import FrameTags

RING_FULL = "ring_full"

_POLL_S = 0.005
"""Between two looks for new frames; those that came meanwhile are found all the same."""
_IDLE_NS = 50_000_000
_PATIENCE_S = 0.5
"""How long a full ring is waited for; frames exposed meanwhile are still in the buffer."""
_SLICE_S = 0.05


class MicroManagerTap:
    """Frames of a live view that Micro-Manager's window runs (``core.camera.Camera``).

    Parameters
    ----------
    config : MicroManagerCameraConfig
        With ``mode = "tap"`` and ``backend = "java"``.

    Attributes
    ----------
    on_idle : callable
        Called in the thread of ``frames``, about every 50 ms, while no frame comes.
    """

    def __init__(self, config: MicroManagerCameraConfig) -> None:
        self._config = config
        self.on_idle: Callable[[], None] = do_nothing
        self._core: JavaCore | None = None
        self._prepared: Prepared | None = None
        self._run: Watch | None = None
        self._max_shape = (0, 0)

    def open(self) -> CameraInfo:
        """Attach to Micro-Manager.

        Raises
        ------
        CameraError
            If Micro-Manager cannot be had, has no camera, or the live view is another camera's.
        """
        if self._core is not None:
            raise CameraError(f"camera {self._config.name} is open already", "close it first")
        config = self._config
        core = connect_java(config.host, config.port, config.call_timeout_s)
        with ExitStack() as undo:
            undo.callback(core.close)
            info = self._info(core, self._form(core))
            undo.pop_all()
        self._core = core
        return info

    def prepare(self, request: StreamRequest) -> Prepared:
        """Say what the live view delivers, as it is set now.

        Raises
        ------
        CameraError
            If the camera is not open, is asked for what only its owner can do, or its frames are
            larger than ``sensor_px``.
        """
        core = self._need("prepare")
        self.stop()
        self._prepared, self._run = None, None
        _check(self._config.name, request)
        form = self._form(core)
        self._max_shape = self._largest(form)
        self._check_size(form.shape, form.dtype, form.dtype)
        rate_hz = request.rate_hz or self._config.rate_hz
        self._prepared = Prepared(
            shape=form.shape,
            max_shape=self._max_shape,
            dtype=form.dtype,
            bit_depth=form.bit_depth,
            period_ns=round(1e9 / rate_hz) if rate_hz else 0,
            exposure_us=form.exposure_us,
            roi=form.roi,
            binning=form.binning,
            buffer_frames=MOST_AT_ONCE,
            n_frames=request.n_frames,
        )
        return self._prepared

    def start(self) -> None:
        """Watch from now on.

        Raises
        ------
        CameraError
            If the camera is not prepared, or Micro-Manager does not answer.
        """
        core = self._need("start")
        if self._prepared is None:
            raise self._out_of_order("start", "prepare")
        self.stop()
        run = Watch(core, self._prepared, self._config.channel)
        if not core.running():
            # What a live view left in the buffer long ago is not what is seen now.
            run.pass_over()
        self._run = run

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Return the iterator over the live view's frames, until stopped or ``n_frames``.

        Raises
        ------
        CameraError
            At once if the camera is not started; while iterating when Micro-Manager goes away or a
            frame is larger than those prepared for.
        """
        if self._run is None:
            raise self._out_of_order("frames", "start")
        return self._frames(self._run, get_slot)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread; the live view goes on."""
        if self._run is not None:
            self._run.stop()

    def close(self) -> None:
        """Let go of Micro-Manager, as it is. Idempotent."""
        self.stop()
        core, self._core = self._core, None
        self._prepared, self._run = None, None
        if core is not None:
            core.close()

    def counters(self) -> dict[str, int]:
        """Return what happened to the live view's frames, by name.

        ``lost`` frames were exposed and not seen; ``loss_unknown`` times more may be lost, and
        ``loss_estimated`` times the number comes from the time that passed; ``restarts`` of the
        live view; ``unfit`` copies were of a format that was just being changed;
        ``other_channels`` copies were of other channels of a multi-camera device: where nothing
        else comes, they are the live view's only ones.
        """
        return {} if self._run is None else self._run.counters()

    def findings(self) -> tuple[Finding, ...]:
        """Return what ``livedenoise check`` says of Micro-Manager and this camera; once open."""
        from livedenoise.micromanager.inspecting import inspect

        return inspect(self._need("findings"), self._config)

    def _frames(self, run: Watch, get_slot: GetSlot) -> Iterator[Captured]:
        idle_ns = now_ns()
        while not run.ended():
            found = run.poll()
            for seen in found:
                captured = self._take(run, seen, get_slot)
                if captured is None:
                    return
                yield captured
                if run.ended():
                    return
            if found:
                continue
            if now_ns() - idle_ns >= _IDLE_NS:
                idle_ns = now_ns()
                self.on_idle()
            run.stopped.wait(_POLL_S)

    def _take(self, run: Watch, seen: Seen, get_slot: GetSlot) -> Captured | None:
        """Put a frame into a slot; None on a stop."""
        pixels, tags = seen.taken
        self._check_size(tags.shape, tags.dtype, run.prepared.dtype)
        form = run.form_of(seen)
        slot = _wait_for_slot(run, tags, get_slot)
        if slot is None and run.stopped.is_set():
            return None
        flags = int(FrameFlags.AFTER_GAP) if seen.loss_unknown and run.delivered else 0
        if slot is not None:
            np.copyto(slot, pixels)
            saturated = int(slot.max()) >= max_count(form.bit_depth)
            flags |= int(FrameFlags.SATURATED) if saturated else 0
        return run.captured(seen, form, flags, discarded="" if slot is not None else RING_FULL)

    def _form(self, core: JavaCore) -> Format:
        camera = core.camera()
        if not camera or (self._config.device and self._config.device != camera):
            raise CameraError(
                f"camera {self._config.name}: Micro-Manager's camera is {camera or 'none'}"
                + (f", device is {self._config.device}" if self._config.device else ""),
                "choose the camera in Micro-Manager, or remove camera.device",
            )
        return format_now(core, binning_now(core, camera))

    def _info(self, core: JavaCore, form: Format) -> CameraInfo:
        config, camera = self._config, core.camera()
        if config.channel >= core.channels():
            raise CameraError(
                f"camera {config.name}: channel = {config.channel}, {camera} has "
                f"{core.channels()} channel(s), counted from 0",
                "set camera.channel to one of them",
            )
        state = "runs" if core.running() else "does not run yet"
        note = f"watches the live view of {camera} in Micro-Manager, which {state}"
        return CameraInfo(
            name=config.name,
            kind=config.kind,
            sensor=self._largest(form),
            dtype=form.dtype,
            bit_depth=form.bit_depth,
            capabilities=(WAITS,),
            notes=(note, *core.notes),
        )

    def _largest(self, form: Format) -> tuple[int, int]:
        """Return (Y, X) of the largest frame: as configured, else as the region implies."""
        if self._config.sensor_px is not None:
            return self._config.sensor_px[1], self._config.sensor_px[0]
        x, y, width, height = form.roi
        return y + height, x + width

    def _check_size(self, shape: tuple[int, int], dtype: str, prepared_dtype: str) -> None:
        nbytes, room = frame_nbytes(shape, dtype), frame_nbytes(self._max_shape, prepared_dtype)
        fits = all(here <= most for here, most in zip(shape, self._max_shape, strict=True))
        if fits and nbytes <= room:
            return
        (height, width), (most_y, most_x) = shape, self._max_shape
        raise CameraError(
            f"camera {self._config.name}: the live view has {width}x{height} "
            f"{dtype_in_words(dtype)} pixels, prepared were at most {most_x}x{most_y} "
            f"{dtype_in_words(prepared_dtype)} ones",
            f"set camera.sensor_px = [{max(width, most_x)}, {max(height, most_y)}], the largest "
            "frame there will be, or start again with the largest one",
        )

    def _need(self, step: str) -> JavaCore:
        if self._core is None:
            raise self._out_of_order(step, "open")
        return self._core

    def _out_of_order(self, step: str, missing: str) -> CameraError:
        return CameraError(
            f"camera {self._config.name}: {step} before {missing}",
            "the order is open, prepare, start, frames, stop, close",
        )


def _wait_for_slot(run: Watch, tags: FrameTags, get_slot: GetSlot) -> Frame | None:
    """Return a slot; None on a stop, or when newer frames are worth more than this one."""
    left_s = _PATIENCE_S
    while True:
        slot = get_slot(tags.shape, tags.dtype, min(left_s, _SLICE_S))
        left_s -= _SLICE_S
        if slot is not None or left_s <= 0 or run.stopped.is_set():
            return slot


def _check(name: str, request: StreamRequest) -> None:
    if request.n_frames is not None and request.n_frames < 1:
        raise CameraError(
            f"camera {name}: {request.n_frames} frames were asked for, the least is 1",
            "ask for at least one frame",
        )
    for what, value, none in (
        ("exposure_us", request.exposure_us, (0,)),
        ("roi", request.roi, (None,)),
        ("binning", request.binning, (0, 1)),
        ("events", request.events, ((),)),
    ):
        if value not in none:
            raise CameraError(
                f"camera {name}: {what} = {value} was asked for, a tap changes nothing",
                f'set {what} in Micro-Manager, or use camera.mode = "own"',
            )
