"""pycromanager's python backend with the demo camera, for tests of what rides on an acquisition."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from livedenoise.core.config import Config
from livedenoise.testing.live import small_config

SHAPE = (48, 64)


@contextmanager
def python_backend(shape: tuple[int, int] = SHAPE, *, buffer_mb: int = 64) -> Iterator[Any]:
    """Yield the core of a running python backend: a 16-bit demo camera of ``shape``, 1 ms."""
    import mm_test_adapters
    from mmpycorex import Core
    from pycromanager import start_headless, stop_headless
    from pycromanager.acquisition.acq_eng_py.internal.engine import Engine

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        start_headless(
            mm_test_adapters.device_adapter_path(),
            "MMConfig_demo.cfg",
            python_backend=True,
            buffer_size_mb=buffer_mb,
        )
        core = Core()
        # The engine's two threads live as long as it does: here already, not with the first event.
        for executor in (Engine.singleton.acq_executor, Engine.singleton.event_generator_executor):
            executor.submit(int).result()
        for name, value in (
            ("OnCameraCCDXSize", str(shape[1])),
            ("OnCameraCCDYSize", str(shape[0])),
            ("PixelType", "16bit"),
        ):
            core.set_property("Camera", name, value)
        core.set_exposure(1.0)
        try:
            yield core
        finally:
            stop_headless()
            # The engine is a singleton bound to the core that was just unloaded.
            if hasattr(Engine, "singleton"):
                del Engine.singleton


def time_events(count: int, **extra: Any) -> list[dict[str, Any]]:
    """Return events that differ in time only: one hardware sequence."""
    return [{"axes": {"time": number}, **extra} for number in range(count)]


def free_ports(count: int) -> list[int]:
    """Return neighbouring ports nobody listens on now."""
    for first in range(21_000, 60_000, 89):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + number))
        except OSError:
            continue
        else:
            return [first + number for number in range(count)]
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")


def hook_run_config(listen: str, *, shape: tuple[int, int] = SHAPE, **sections: object) -> Config:
    """Return a small run, identity engine, raw recording, whose camera listens at ``listen``."""
    data = small_config(**sections).model_dump(mode="json")
    data["camera"] = [
        {
            "kind": "network",
            "name": "net",
            "listen": listen,
            "width_px": shape[1],
            "height_px": shape[0],
            "constants": {"gain_e_per_adu": 0.5, "offset_adu": 0.0, "read_noise_e": 1.0},
        }
    ]
    data["ring"] = {"memory_mb": 64, "max_slots": 64}
    return Config.model_validate(data)
