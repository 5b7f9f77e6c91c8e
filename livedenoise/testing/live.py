"""Small live runs for tests: the daemon in a thread, its stages as real processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from livedenoise.core.config import Config, parse_config
from livedenoise.core.status import StatusSnapshot
from livedenoise.daemon.options import RunOptions, with_options
from livedenoise.daemon.run import Daemon
from livedenoise.daemon.summary import Summary

DEADLINE_S = 30.0


def small_config(
    *,
    camera: dict[str, Any] | None = None,
    denoise: dict[str, Any] | None = None,
    record: dict[str, Any] | None = None,
    **sections: object,
) -> Config:
    """Return a 64x48 simulated camera at 200 fps, identity engine, raw recording."""
    simulated = {
        "kind": "simulated",
        "name": "sim",
        "exposure_us": 5000,
        "rate_hz": 200.0,
        "pool_frames": 16,
        "sensor": {"width_px": 64, "height_px": 48, "line_time_us": 5.0},
        "scene": {"photons_per_s": 20000.0},
    }
    data: dict[str, Any] = {
        "name": "small",
        "camera": [simulated | (camera or {})],
        "ring": {"memory_mb": 8, "max_slots": 64},
        "denoise": {"engine": "identity", "max_age_periods": 40.0, "max_backlog": 32}
        | (denoise or {}),
        "record": record or {},
        "status": {"report_ms": 50, "drain_timeout_s": 10.0},
        "view": {"enabled": False},
        **sections,
    }
    return parse_config(data, "test")


class LiveRun:
    """A run in a thread."""

    def __init__(self, config: Config, options: RunOptions) -> None:
        self.daemon = Daemon(with_options(config, options), options)
        self.snapshots: list[StatusSnapshot] = []
        self.summary: Summary | None = None
        self._thread = threading.Thread(target=self._run, name="daemon")
        self._thread.start()

    def _run(self) -> None:
        self.summary = self.daemon.run(self.snapshots.append)

    def until(self, condition: Callable[[StatusSnapshot], bool]) -> None:
        """Wait until a snapshot fulfils the condition."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if self.snapshots and self.snapshots[-1].streams and condition(self.snapshots[-1]):
                return
            if not self._thread.is_alive():
                break
            time.sleep(0.01)
        raise AssertionError(
            f"never happened; last seen {self.snapshots[-1:]}, summary {self.summary}"
        )

    def result(self) -> Summary:
        """Wait for the end."""
        self._thread.join(DEADLINE_S)
        if self._thread.is_alive() or self.summary is None:
            raise AssertionError("the run does not end")
        return self.summary

    def end(self) -> None:
        """Abort, whatever state it is in."""
        self.daemon.request_stop()
        self.daemon.request_stop()
        self._thread.join(DEADLINE_S)
