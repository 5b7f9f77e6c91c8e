"""A core that belongs to a user's program in this process, which may end it at any time.

Knows: that the core may be gone. Must not know: what it is used for.

Nothing here keeps the core alive: when the program drops it, its devices are released at once, as
they would be without us.
"""

from __future__ import annotations

import weakref
from typing import Any

from livedenoise.micromanager.core import CoreGoneError
from livedenoise.micromanager.python_core import PythonCore

_PLUS = "pymmcore_plus"


class BorrowedCore(PythonCore):
    """Somebody else's core of this process, held weakly.

    Parameters
    ----------
    raw : pymmcore.CMMCore
        Also pycromanager's ``Core()`` of the python backend and pymmcore-plus's.

    Raises
    ------
    CameraError
        If it is not a core of this process. Every call, once it is gone, raises ``CoreGoneError``.
    """

    def __init__(self, raw: object) -> None:
        super().__init__(raw, owned=False)
        self._weak = weakref.ref(raw)
        self._raw = None

    def is_around(self, raw: object) -> bool:
        """Return whether it is this core that was borrowed."""
        return self._weak() is raw

    def end_events(self) -> None:
        """End the core's events as the interpreter ends, if nobody else does.

        MMCore 12 delivers them from a thread of its own, and pymmcore-plus leaves it running: one
        that comes while the interpreter ends aborts the process. Other cores are left alone.
        """
        raw = self._weak()
        if raw is not None and any(c.__module__.startswith(_PLUS) for c in type(raw).__mro__):
            self.call("registerCallback", None)

    def _alive(self) -> Any:  # noqa: ANN401 - pymmcore has no types
        raw = self._weak()
        if raw is None:
            raise CoreGoneError(
                "the program has dropped its Micro-Manager core", "tap the new one, if there is one"
            )
        return raw
