"""Executes acquisition events with a real core: snaps and hardware sequences.

Knows: the core's calls and the tags that Micro-Manager's engine adds to an image. Must not know:
sockets, storage.

As in Micro-Manager the tag "Exposure" of a hardware-sequenced frame is what the core is set to,
not what the frame was taken with.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

from bridge.core import CMMCore
from bridge.events import Event, exposures, runs
from bridge.tagged import TaggedImage

_POLL_S = 0.0005
Notify = Callable[[str, str, list[Event]], None]


class Engine:
    """Runs events one batch after the other.

    Parameters
    ----------
    core : CMMCore
        What they are run with.
    notify : callable
        Told the type, the milestone and the events concerned.
    stopped : callable
        Whether the acquisition was aborted.
    """

    def __init__(self, core: CMMCore, notify: Notify, stopped: Callable[[], bool]) -> None:
        self._core, self._notify, self._stopped = core, notify, stopped
        self._start_s = time.monotonic()

    def groups(self, events: list[Event]) -> list[list[Event]]:
        """Return the events as they will be executed together."""
        real, camera = self._core.real, self._core.real.getCameraDevice()
        able = real.isExposureSequenceable(camera)
        return runs(events, real.getExposureSequenceMaxLength(camera) if able else 0)

    def set_hardware(self, group: list[Event]) -> None:
        """Set what the events ask for, but for a sequence of exposures."""
        real, event = self._core.real, group[0]
        self._notify("hardware", "pre_hardware", group)
        self._wait_until(event.get("min_start_time"))
        if event.get("config_group"):
            real.setConfig(*event["config_group"])
        for device, name, value in event.get("properties", ()):
            real.setProperty(device, name, str(value))
        wanted = exposures(group)
        if len(set(wanted)) == 1 and real.getExposure() != wanted[0]:
            real.setExposure(wanted[0])
        real.waitForSystem()
        self._notify("hardware", "post_hardware", group)

    def images(self, group: list[Event]) -> Iterator[TaggedImage]:
        """Expose, and yield each image as soon as there is one."""
        return self._snap(group) if len(group) == 1 else self._sequence(group)

    def _wait_until(self, start_s: float | None) -> None:
        while start_s is not None and time.monotonic() - self._start_s < start_s:
            if self._stopped():
                return
            time.sleep(0.002)

    def _snap(self, group: list[Event]) -> Iterator[TaggedImage]:
        self._notify("camera", "pre_snap", group)
        self._core.real.snapImage()
        self._notify("camera", "post_snap", group)
        yield self._completed(self._core.get_tagged_image(), group[0])

    def _sequence(self, group: list[Event]) -> Iterator[TaggedImage]:
        real, camera, wanted = self._core.real, self._core.real.getCameraDevice(), exposures(group)
        different = len(set(wanted)) > 1
        if different:
            real.loadExposureSequence(camera, wanted)
            real.startExposureSequence(camera)
        self._notify("camera", "pre_sequence_started", group)
        try:
            real.startSequenceAcquisition(len(group), 0, True)
            for event in group:
                if not self._wait_for_image():
                    return
                yield self._completed(self._core.pop_next_tagged_image(), event)
        finally:
            real.stopSequenceAcquisition()
            if different:
                real.stopExposureSequence(camera)
        self._notify("camera", "post_sequence_stopped", group)

    def _wait_for_image(self) -> bool:
        """Wait for the next image of a sequence; False when the acquisition was aborted."""
        real = self._core.real
        while not real.getRemainingImageCount():
            if self._stopped():
                return False
            if real.isBufferOverflowed():
                raise RuntimeError("Sequence buffer overflow")
            if not real.isSequenceRunning() and not real.getRemainingImageCount():
                raise RuntimeError("the sequence ended before its last image")
            time.sleep(_POLL_S)
        return True

    def _completed(self, image: TaggedImage, event: Event) -> TaggedImage:
        tags = image.tags.values
        tags["Axes"] = dict(event["axes"])
        tags["Exposure"] = self._core.real.getExposure()
        tags["Time"] = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
        tags.setdefault("ElapsedTime-ms", (time.monotonic() - self._start_s) * 1e3)
        tags |= event.get("tags", {})
        return image
