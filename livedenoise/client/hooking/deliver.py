"""Denoised images into the user's own data set, by the way each backend of pycromanager has.

Java backend, ``image_process_fn``: a list of images may be returned; denoised images of earlier
calls go with the raw one. Python backend, ``image_process_fn``: it unpacks exactly one image, so it
cannot be done, which is said. Python backend, ``image_saved_fn``: images are put into the data set
in memory. Nothing here waits while an acquisition runs.

Knows: the backends. Must not know: endpoints, queues.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from livedenoise.client.hooking.beside import Beside, Expected, denoised_axes, denoised_metadata
from livedenoise.client.hooking.datasets import SharedDataset, obstacle
from livedenoise.client.hooking.words import Words
from livedenoise.core.frame import Frame

_JAVA_THREAD = "ImageProcessor"
"""The thread in which pycromanager's Java backend calls ``image_process_fn``."""

_AT_ONCE = 2
"""Denoised images that go with one raw image: a burst must not hold the saving up."""


class Delivery:
    """Delivers denoised images; parameters as ``Beside``."""

    def __init__(self, endpoint: str, *, keys: Path | None, words: Words) -> None:
        self._beside = Beside(endpoint, keys=keys, words=words)
        self._datasets: dict[int, SharedDataset] = {}

    def counts(self) -> dict[str, int]:
        """Return what became of the denoised images."""
        return self._beside.counts()

    def on_image(
        self, stamp_ns: int, image: Frame, axes: dict[str, Any], tags: Mapping[str, Any]
    ) -> list[tuple[Frame, dict[str, Any]]]:
        """Return denoised images of earlier calls, to be saved with this one."""
        if self._beside.reason:
            return []
        if threading.current_thread().name != _JAVA_THREAD:
            self._beside.cannot(
                "pycromanager's python backend takes exactly one image from image_process_fn; "
                "use image_saved_fn=livedenoise.hook(...), without directory="
            )
            return []
        self._beside.expect(stamp_ns, Expected(axes, dict(tags), image.shape, image.dtype.str))
        found = []
        for expected, pixels, header in self._beside.take(_AT_ONCE):
            found.append((pixels, denoised_metadata(expected, header)))
            self._beside.delivered()
        return found

    def on_saved(
        self,
        stamp_ns: int,
        image: Frame,
        axes: dict[str, Any],
        dataset: Any,  # noqa: ANN401  (of a package we do not import)
    ) -> None:
        """Put denoised images of earlier calls into the data set."""
        if self._beside.reason:
            return
        reason = obstacle(dataset)
        if reason:
            self._beside.cannot(reason)
            return
        shared = self._share(dataset)
        tags = dict(dataset.read_metadata(**axes) or {})
        self._beside.expect(
            stamp_ns, Expected(axes, tags, image.shape, image.dtype.str, target=shared)
        )
        self._put(_AT_ONCE)

    def close(self, linger_s: float) -> None:
        """Wait for what is under way, put what a data set in memory takes, say what is missing."""
        if self._datasets:
            self._beside.wait(linger_s)
            self._put(None)
        self._beside.close()
        for shared in self._datasets.values():
            shared.release()

    def _share(self, dataset: Any) -> SharedDataset:  # noqa: ANN401
        shared = self._datasets.get(id(dataset))
        if shared is None:
            # Data sets of acquisitions that are over are let go of: they are whole memories.
            for key, other in list(self._datasets.items()):
                if other.dataset.is_finished():
                    self._datasets.pop(key).release()
            shared = self._datasets[id(dataset)] = SharedDataset(dataset)
        return shared

    def _put(self, most: int | None) -> None:
        for item in self._beside.take(most):
            expected, pixels, header = item
            shared = expected.target
            metadata = denoised_metadata(expected, header)
            if isinstance(shared, SharedDataset) and shared.add(
                denoised_axes(expected.axes), pixels, metadata
            ):
                self._beside.delivered()
            else:
                self._beside.put_back(item)
