"""livedenoise: live denoising of low-exposure microscope frames at camera rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from livedenoise.client.hook import hook as hook
    from livedenoise.client.tap import tap as tap

__version__ = "0.1.0"

_SCRIPTING = {"hook": "livedenoise.client.hook", "tap": "livedenoise.client.tap"}
"""What a user's own script calls; imported only when it is."""


def __getattr__(name: str) -> object:
    """Import a function for scripts when it is first used."""
    if name not in _SCRIPTING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_SCRIPTING[name]), name)
