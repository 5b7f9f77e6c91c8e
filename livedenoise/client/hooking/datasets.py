"""Reading from, and writing to, a data set that pycromanager writes meanwhile.

Its data set in memory (``NDRAMDataset``) takes an image in microseconds, but not from two threads
at once: a new axis while the other thread goes through the axes ends the user's acquisition. So
both take turns: the data set's ``put_image`` is wrapped by a lock, and nothing of ours is put
before the saving thread has been seen inside the lock. A data set on disk is one file written by
one thread; it is left alone.

What is read from a data set on disk while it is written may be stale: its reader keeps bytes that
it read ahead, zeros then, where the next image is by now. They are thrown away before each reading.

Knows: pycromanager's data sets by name. Must not know: where images come from.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Mapping
from typing import Any

from livedenoise.core.frame import Frame

_IN_MEMORY = "NDRAMDataset"


def read(
    dataset: Any,  # noqa: ANN401  (of a package we do not import)
    axes: Mapping[str, Any],
    known: Container[object],
) -> tuple[Any, Any]:
    """Return an image that was just saved, and its tags: an empty dict for a ``known`` shape.

    Over the bridge the tags cost as much as a second image.

    Raises
    ------
    Exception
        Whatever the data set raises when it cannot read.
    """
    if "RAM" in type(dataset).__name__:
        return _read(dataset, axes, known)
    with dataset._lock:  # noqa: SLF001  (there is no other way to read what is there)
        for reader in list(dataset._readers_by_filename.values()):  # noqa: SLF001
            # Any other seek may stay inside what was read ahead.
            reader.file.seek(0, os.SEEK_END)
        return _read(dataset, axes, known)


def _read(
    dataset: Any,  # noqa: ANN401  (as above)
    axes: Mapping[str, Any],
    known: Container[object],
) -> tuple[Any, Any]:
    image = dataset.read_image(**axes)
    if image is None or image.shape in known:
        return image, {}
    return image, dataset.read_metadata(**axes) or {}


def obstacle(dataset: object) -> str:
    """Return why denoised images cannot be put into a data set, "" when they can."""
    kind = type(dataset).__name__
    if kind == _IN_MEMORY and callable(getattr(dataset, "put_image", None)):
        return ""
    if kind.endswith("Java") or not hasattr(dataset, "_writable"):
        return f"{kind} is written by Micro-Manager: use image_process_fn=livedenoise.hook(...)"
    return (
        f"{kind} writes one file from one thread; images kept in memory (Acquisition without "
        "directory=) can have them"
    )


class SharedDataset:
    """A data set in memory, written by its own saving thread and by ours, in turns.

    Parameters
    ----------
    dataset : NDRAMDataset
        Of the running acquisition.
    """

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401  (of a package we do not import)
        self.dataset = dataset
        self._lock = threading.Lock()
        self._theirs: Callable[..., object] = dataset.put_image
        self._seen_inside = False
        dataset.put_image = self._put

    def add(self, axes: dict[str, Any], pixels: Frame, metadata: dict[str, Any]) -> bool:
        """Put an image; return False while it is not yet safe to."""
        with self._lock:
            if not self._seen_inside and not self.dataset.is_finished():
                return False
            self._theirs(axes, pixels, metadata)
            return True

    def release(self) -> None:
        """Leave the data set as it was found. Idempotent."""
        self.dataset.__dict__.pop("put_image", None)

    def _put(self, *given: Any, **named: Any) -> object:  # noqa: ANN401
        with self._lock:
            self._seen_inside = True
            return self._theirs(*given, **named)
