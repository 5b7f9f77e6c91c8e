"""Where an acquisition's images go: memory, or an NDTiff data set on disk.

Knows: how each is read by the client and what its "image saved" notification carries. Must not
know: where images come from.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Protocol

from bridge.java import STRING, JavaError, JavaObject, method
from bridge.tagged import JsonObject, TaggedImage
from bridge.values import HashMap


class Storage(Protocol):
    """What an acquisition needs of a store."""

    def put(self, image: TaggedImage) -> str:
        """Keep an image; return what the notification about it carries."""

    def finish(self) -> None:
        """No image will follow."""


class RamStorage(JavaObject, name="org.micromanager.ndtiffstorage.NDRAMStorage"):
    """Images in the server's memory, read back one by one over the bridge."""

    def __init__(self) -> None:
        self._images: dict[frozenset[tuple[str, Any]], TaggedImage] = {}
        self._finished = threading.Event()

    def put(self, image: TaggedImage) -> str:
        axes = image.tags.values["Axes"]
        self._images[frozenset(axes.items())] = image
        return json.dumps(axes)

    @method("void")
    def finish(self) -> None:
        self._finished.set()

    @method(STRING)
    def get_disk_location(self) -> str | None:
        return None

    @method("mmcorej.org.json.JSONObject")
    def get_summary_metadata(self) -> JsonObject:
        return JsonObject({})

    @method("boolean")
    def is_finished(self) -> bool:
        return self._finished.is_set()

    @method("mmcorej.TaggedImage", "java.util.HashMap")
    def get_image(self, axes: HashMap) -> TaggedImage:
        key = frozenset(axes.items.items())
        if key not in self._images:
            raise JavaError(f"no image at {axes.items}", "java.lang.NullPointerException")
        return self._images[key]


class DiskStorage(JavaObject, name="org.micromanager.ndtiffstorage.NDTiffStorage"):
    """An NDTiff data set, read by the client from the disk as it grows."""

    def __init__(self, folder: str, name: str) -> None:
        from ndstorage import NDTiffDataset

        self._data: Any = NDTiffDataset(folder, name=name, writable=True)
        self._data.initialize({})

    def put(self, image: TaggedImage) -> str:
        tags = image.tags.values
        axes = tags["Axes"]
        shape = (int(tags["Height"]), int(tags["Width"]))
        self._data.put_image(axes, image.pix.reshape(shape), tags)
        entry = self._data.index[frozenset(axes.items())].as_byte_buffer().getvalue()
        return str(entry, "iso-8859-1")

    @method("void")
    def finish(self) -> None:
        self._data.finish()

    @method(STRING)
    def get_disk_location(self) -> str:
        return str(self._data.path)

    @method("mmcorej.org.json.JSONObject")
    def get_summary_metadata(self) -> JsonObject:
        return JsonObject({})

    @method("boolean")
    def is_finished(self) -> bool:
        return bool(self._data.is_finished())


class DataSink(JavaObject, name="org.micromanager.remote.RemoteViewerStorageAdapter"):
    """An acquisition's store as the client sees it; there is no viewer behind it."""

    def __init__(self, storage: RamStorage | DiskStorage) -> None:
        self.storage = storage

    @method("org.micromanager.ndtiffstorage.NDTiffAPI")
    def get_storage(self) -> RamStorage | DiskStorage:
        return self.storage

    @method("java.lang.Object")
    def get_viewer(self) -> None:
        return None

    @method("boolean")
    def is_finished(self) -> bool:
        return self.storage.is_finished()
