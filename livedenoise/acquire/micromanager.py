"""A camera that Micro-Manager drives, owned by us (``core.camera.Camera``).

Knows: the life cycle, what of it belongs to which backend. Must not know: how calls reach the core,
how frames are popped.

Everything that is changed in Micro-Manager is put back by ``close``, also after an error; with a
journal also by the successor of a killed process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from livedenoise.acquire.micromanager_events import EventStream, check_events
from livedenoise.acquire.micromanager_stream import SequenceStream, StreamPlan
from livedenoise.acquire.pacing import do_nothing
from livedenoise.client import FrameSender
from livedenoise.core.camera import CameraInfo, Captured, GetSlot, Prepared, StreamRequest
from livedenoise.core.check_facts import Finding
from livedenoise.core.errors import CameraError
from livedenoise.core.micromanager_config import MicroManagerCameraConfig
from livedenoise.micromanager.changes import Changes
from livedenoise.micromanager.core import Core
from livedenoise.micromanager.owning import (
    buffer_frames,
    camera_still,
    connect,
    leave,
    require_idle,
    where_from,
)
from livedenoise.micromanager.rate import measured_period_ns
from livedenoise.micromanager.setup import (
    Format,
    apply_request,
    apply_settings,
    choose_camera,
    full_sensor,
)

_MEASURED_BELOW_US = 100_000
"""Longer exposures are the period, near enough; no sample is lit to find out."""

_FORWARD_READY_S = 2.0
_RATE_NOT_KNOWN = (
    "the frame rate was not measured: without an automatic shutter that would light the sample; "
    "camera.rate_hz says what to expect"
)


class MicroManagerCamera:
    """A camera of Micro-Manager's core: ours (python) or that of a running window (java).

    Parameters
    ----------
    config : MicroManagerCameraConfig
        With ``mode = "own"``.

    Attributes
    ----------
    on_idle : callable
        Called in the thread of ``frames``, about every 50 ms, while no frame comes.
    on_refused : callable
        Called when ``open`` fails, before anything is undone: ``findings`` may still be asked.
    """

    def __init__(self, config: MicroManagerCameraConfig) -> None:
        self._config = config
        self.on_idle: Callable[[], None] = do_nothing
        self.on_refused: Callable[[], None] = do_nothing
        self._journal: Path | None = None
        self._core: Core | None = None
        self._changes: Changes | None = None
        self._label = ""
        self._sensor = (0, 0)
        self._plan: StreamPlan | None = None
        self._request: StreamRequest | None = None
        self._stream: SequenceStream | EventStream | None = None
        self._senders: dict[int, FrameSender] = {}

    def keep_journal(self, path: Path) -> None:
        """Write down in a file what is changed, so that a successor can put it back.

        Of use where the core outlives this process (java).
        """
        self._journal = path if self._config.backend == "java" else None

    def open(self) -> CameraInfo:
        """Start the core or attach to it, choose the camera, apply presets and properties.

        Raises
        ------
        CameraError
            If Micro-Manager or the camera cannot be had, a live view runs, a preset or property is
            refused. What was changed until then is put back.
        """
        config = self._config
        if self._core is not None:
            raise CameraError(f"camera {config.name} is open already", "close it first")
        with ExitStack() as undo:
            core = connect(config)
            undo.callback(self.close)
            self._core = core
            changes = Changes(core, self._journal)
            self._changes = changes
            undo.callback(self.on_refused)
            require_idle(core, changes, config.name)
            choose_camera(core, changes, config)
            changes.note_format()
            apply_settings(core, changes, config)
            self._label = camera_still(core, config.name, config.device)
            self._sensor = full_sensor(core, changes, self._label)
            self._forward(core)
            info = self._info(core, self._label)
            undo.pop_all()
        return info

    def prepare(self, request: StreamRequest) -> Prepared:
        """Apply binning, region and exposure; find out how fast frames will come.

        Raises
        ------
        CameraError
            If the camera is not open or refuses; the message names both values.
        """
        core, changes = self._need("prepare")
        self._finish_stream()
        self._plan, self._request, self._stream = None, None, None
        _check(self._config.name, request)
        form = apply_request(core, changes, self._config, request, self._sensor)
        if request.events:
            check_events(core, self._config.name, request.events)
        if self._config.buffer_mb is not None:
            changes.set_buffer_mb(self._config.buffer_mb)
        period_ns = self._period_ns(core, request, form)
        notes = form.notes if period_ns else (*form.notes, _RATE_NOT_KNOWN)
        capacity = buffer_frames(core, form)
        self._request = request
        self._plan = StreamPlan(
            name=self._config.name,
            form=form,
            period_ns=period_ns,
            capacity=capacity,
            n_frames=request.n_frames,
            channel=self._config.channel,
            n_channels=core.channels(),
            rate_hz=request.rate_hz,
        )
        return Prepared(
            shape=form.shape,
            max_shape=self._max_shape(form),
            dtype=form.dtype,
            bit_depth=form.bit_depth,
            period_ns=period_ns,
            exposure_us=form.exposure_us,
            roi=form.roi,
            binning=form.binning,
            buffer_frames=capacity,
            n_frames=request.n_frames,
            notes=notes,
        )

    def start(self) -> None:
        """Start the camera's sequence.

        Raises
        ------
        CameraError
            If the camera is not prepared, does not start, or somebody else has it by now.
        """
        core, changes = self._need("start")
        if self._plan is None or self._request is None:
            raise self._out_of_order("start", "prepare")
        self._finish_stream()
        require_idle(core, changes, self._config.name)
        camera_still(core, self._config.name, self._label)
        for sender in self._senders.values():
            # Its frames are counted as lost at its own camera if nobody is there by then.
            sender.wait_ready(_FORWARD_READY_S)
        if self._request.events:
            self._stream = EventStream(core, self._plan, self._request.events, on_idle=self._idle)
        else:
            self._stream = SequenceStream(
                core, self._plan, forward=self._senders, on_idle=self._idle
            )
        self._stream.start()

    def frames(self, get_slot: GetSlot) -> Iterator[Captured]:
        """Return the iterator over every frame, until stopped or ``n_frames``.

        Raises
        ------
        CameraError
            At once if the camera is not started; while iterating when Micro-Manager goes away or
            its buffer overflows (what was in it comes first).
        """
        if self._stream is None:
            raise self._out_of_order("frames", "start")
        return self._stream.frames(get_slot)

    def stop(self) -> None:
        """End the stream: idempotent, from any thread, without waiting for an exposure."""
        stream = self._stream
        if stream is not None:
            stream.stop()

    def close(self) -> None:
        """Stop, put back what was changed, let go of the core. Idempotent.

        Raises
        ------
        CameraError
            If something could not be put back; everything else was.
        """
        core, self._core = self._core, None
        changes, self._changes = self._changes, None
        senders, self._senders = self._senders, {}
        stream, self._stream = self._stream, None
        self._plan, self._request, self._label = None, None, ""
        with ExitStack() as steps:
            if core is not None:
                steps.callback(core.close)
            if core is not None and changes is not None:
                finish = do_nothing if stream is None else stream.finish
                steps.callback(leave, core, changes, finish)
            for sender in senders.values():
                steps.callback(sender.close)

    def counters(self) -> dict[str, int]:
        """Return what happened beside the frames, by name.

        ``left_in_buffer`` frames were exposed and not taken when the stream was stopped,
        ``gone_from_buffer`` ones when somebody changed the region; ``rate_differs`` is 1 when
        frames do not come at ``rate_hz``; ``forwarded``, ``not_forwarded`` and
        ``channel_not_taken`` are frames of other channels; ``changed_under_us`` new regions or
        binnings, ``incomplete`` frames lost to such a change, ``renumbered`` new counts of the
        core.
        """
        return {} if self._stream is None else dict(self._stream.counts)

    def findings(self) -> tuple[Finding, ...]:
        """Return what ``livedenoise check`` says of Micro-Manager and this camera; once open."""
        from livedenoise.micromanager.inspecting import inspect

        core, _ = self._need("findings")
        period_ns = 0 if self._plan is None else self._plan.period_ns
        return inspect(core, self._config, period_ns=period_ns)

    def _forward(self, core: Core) -> None:
        n_channels = core.channels()
        for text, endpoint in self._config.forward.items():
            if int(text) >= n_channels:
                raise CameraError(
                    f"camera {self._config.name}: forward.{text}: the camera device has "
                    f"{n_channels} channel(s), counted from 0",
                    "remove the key, or make a multi-camera device the camera",
                )
            self._senders[int(text)] = FrameSender(endpoint, max_queue=32)

    def _info(self, core: Core, label: str) -> CameraInfo:
        config = self._config
        notes = where_from(core, config, label)
        if config.channel >= core.channels():
            raise CameraError(
                f"camera {config.name}: channel = {config.channel}, {label} has "
                f"{core.channels()} channel(s), counted from 0",
                "set camera.channel to one of them",
            )
        unheard = set(range(core.channels())) - {config.channel, *self._senders}
        if unheard:
            notes.append(f"channels {sorted(unheard)} of {label} are not taken: see camera.forward")
        return CameraInfo(
            name=config.name,
            kind=config.kind,
            sensor=self._sensor,
            dtype=core.dtype(),
            bit_depth=core.bit_depth(),
            notes=tuple(notes),
        )

    def _period_ns(self, core: Core, request: StreamRequest, form: Format) -> int:
        """Return the time from frame to frame to expect, 0 when it is not known."""
        if request.rate_hz:
            return round(1e9 / request.rate_hz)
        if request.events:
            return 1000 * max(event.exposure_us for event in request.events)
        if form.exposure_us >= _MEASURED_BELOW_US:
            return 1000 * form.exposure_us
        _, changes = self._need("prepare")
        return measured_period_ns(core, changes, form.exposure_us)

    def _max_shape(self, form: Format) -> tuple[int, int]:
        if self._config.backend == "python":
            return form.shape
        # Somebody may change region or binning in the window while we run.
        return max(self._sensor[0], form.shape[0]), max(self._sensor[1], form.shape[1])

    def _finish_stream(self) -> None:
        if self._stream is not None:
            self._stream.finish()

    def _idle(self) -> None:
        self.on_idle()

    def _need(self, step: str) -> tuple[Core, Changes]:
        if self._core is None or self._changes is None:
            raise self._out_of_order(step, "open")
        return self._core, self._changes

    def _out_of_order(self, step: str, missing: str) -> CameraError:
        return CameraError(
            f"camera {self._config.name}: {step} before {missing}",
            "the order is open, prepare, start, frames, stop, close",
        )


def _check(name: str, request: StreamRequest) -> None:
    if request.n_frames is not None and request.n_frames < 1:
        raise CameraError(
            f"camera {name}: {request.n_frames} frames were asked for, the least is 1",
            "ask for at least one frame",
        )
