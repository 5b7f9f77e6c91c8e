"""The side channel by which a test orders the server about: JSON lines in, JSON lines out.

Knows: the orders. Must not know: the protocol of the bridge. It does not go through the bridge, so
it works while the bridge hangs. The end of its input ends the server: no server outlives its test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, TextIO

from bridge.core import CMMCore
from bridge.live import LiveManager
from bridge.server import Server


class Control:
    """Carries out orders.

    Every order is a method without underscore; its result must be JSON.
    """

    def __init__(self, server: Server, core: CMMCore, live: LiveManager) -> None:
        self._server, self._core, self._live = server, core, live

    def serve(self, orders: TextIO, answers: TextIO) -> None:
        """Carry out orders until there are no more, then end the process."""
        for line in orders:
            print(json.dumps(self._carry_out(json.loads(line))), file=answers, flush=True)
        os._exit(0)

    def _carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        name = order.pop("order")
        try:
            if name.startswith("_") or name == "serve":
                raise AttributeError(name)  # noqa: TRY301
            act: Callable[..., Any] = getattr(self, name)
            return {"result": act(**order)}
        except Exception as error:  # noqa: BLE001  (told to the test, which fails by it)
            return {"error": f"{type(error).__name__}: {error}"}

    def fault(self, **rule: Any) -> None:
        """Misbehave: see ``faults.Rule``."""
        self._server.faults.add(**rule)

    def release(self) -> None:
        """Forget all misbehaviour; calls that hang are answered now."""
        self._server.faults.release()

    def reset(self) -> None:
        """Be as after the start: configuration loaded anew, no rules, no objects, live off."""
        self._server.faults.release()
        self._server.faults.forget()
        self._server.objects.clear()
        self._live.reset()
        self._core.reset()

    def version(self, text: str) -> None:
        """Say another version on connect, "" for none."""
        self._server.faults.version = text

    def answer(self, call: str, value: Any) -> None:
        """Answer every call of a name with a value instead of executing it, until released."""
        self._server.faults.answers[call] = value

    def numbering(self, period: int) -> None:
        """Let image numbers restart after ``period``; 0 for never."""
        self._core.numbering_period = period

    def user(self, call: str, args: list[Any]) -> Any:
        """Call the core as a user at the microscope would, past the bridge."""
        result = getattr(self._core.real, call)(*args)
        plain = result is None or isinstance(result, bool | int | float | str | list | tuple)
        return result if plain else str(result)

    def live(self, *, on: bool, reader: str = "peek") -> None:
        """Press the Live button."""
        self._live.read_with(reader)
        self._live.set_live_mode_on(on)

    def state(self) -> dict[str, Any]:
        """Return everything a test may want to compare before and after."""
        real = self._core.real
        return {
            "camera": real.getCameraDevice(),
            "exposure_ms": real.getExposure(),
            "roi": list(real.getROI()),
            "running": real.isSequenceRunning(),
            "remaining": real.getRemainingImageCount(),
            "buffer_mb": real.getCircularBufferMemoryFootprint(),
            "auto_shutter": real.getAutoShutter(),
            "properties": self._properties(),
            "live": self._live.is_live_mode_on(),
            "live_suspended": self._live.suspended,
            "live_frames_read": self._live.frames_read,
            "displayed": list(self._live.displayed),
            "display_count": self._live.display_count,
            **self.traffic(),
        }

    def traffic(self) -> dict[str, Any]:
        """Return what came over the bridge; asks no device, so that it never waits for one."""
        faults = self._server.faults
        return {
            "objects": self._server.objects.alive(),
            "calls": dict(faults.calls),
            "hanging": faults.hanging,
        }

    def _properties(self) -> dict[str, str]:
        """Return every property that can be set, read from the devices and not from the cache."""
        real = self._core.real
        return {
            f"{device}-{name}": real.getProperty(device, name)
            for device in real.getLoadedDevices()
            for name in real.getDevicePropertyNames(device)
            if not real.isPropertyReadOnly(device, name)
        }
