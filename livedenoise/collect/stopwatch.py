"""Where the time of a field goes: exposing, waiting for devices, settling, and the rest of it.

The rest is our own overhead, what a field costs beyond what physics asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from livedenoise.core.clock import Clock


class Stopwatch:
    """Adds up times between ``start`` and ``overhead_s``.

    Parameters
    ----------
    clock : Clock
        Source of time; also waits.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started_ns = clock.now_ns()
        self._needed_ns = 0

    @property
    def clock(self) -> Clock:
        """Return the clock."""
        return self._clock

    def start(self) -> None:
        """Begin a field."""
        self._started_ns, self._needed_ns = self._clock.now_ns(), 0

    @contextmanager
    def device(self) -> Iterator[None]:
        """Count what happens within as a device's own time (stage, shutter, light, autofocus)."""
        began_ns = self._clock.now_ns()
        try:
            yield
        finally:
            self._needed_ns += self._clock.now_ns() - began_ns

    def exposed(self, exposure_us: int, frames: int) -> None:
        """Count exposures."""
        self._needed_ns += 1000 * exposure_us * frames

    def wait_ms(self, wait_ms: float) -> None:
        """Settle."""
        if wait_ms > 0:
            with self.device():
                self._clock.sleep_until_ns(self._clock.now_ns() + round(wait_ms * 1e6))

    @property
    def elapsed_s(self) -> float:
        """Return seconds since ``start``."""
        return (self._clock.now_ns() - self._started_ns) * 1e-9

    @property
    def overhead_s(self) -> float:
        """Return seconds since ``start`` less exposures, devices and settling."""
        return max(0.0, self.elapsed_s - self._needed_ns * 1e-9)
