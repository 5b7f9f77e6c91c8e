"""``org.micromanager.Studio``: the door to a running Micro-Manager's own objects.

Knows: which objects the test bridge has behind it. Must not know: what they do.
"""

from __future__ import annotations

from bridge.core import CMMCore
from bridge.data import DataManager
from bridge.java import JavaObject, method
from bridge.live import LiveManager

_LIVE = "org.micromanager.SnapLiveManager"
_DATA = "org.micromanager.data.DataManager"


class Studio(
    JavaObject,
    name="org.micromanager.internal.MMStudio",
    interfaces=("org.micromanager.Studio",),
):
    """The one studio of the server."""

    def __init__(self, core: CMMCore, live: LiveManager) -> None:
        self._core, self._live, self._data = core, live, DataManager()

    @method(_LIVE)
    @method(_LIVE, name="getSnapLiveManager")
    def live(self) -> LiveManager:
        return self._live

    @method(_DATA)
    @method(_DATA, name="getDataManager")
    def data(self) -> DataManager:
        return self._data

    @method("mmcorej.CMMCore")
    @method("mmcorej.CMMCore", name="getCMMCore")
    def core(self) -> CMMCore:
        return self._core
