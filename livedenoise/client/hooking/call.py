"""What ``livedenoise.hook`` returns: a callable that pycromanager calls for every image.

It takes the time, copies the pixels, queues them and returns. It never waits, and never raises into
the acquisition: pycromanager would abort it.

Knows: how pycromanager calls ``image_process_fn`` and ``image_saved_fn``. Must not know:
pycromanager itself (nothing of it is imported), what lines do with images.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from livedenoise.client.hooking.axes import Axes, Lookup
from livedenoise.client.hooking.counts import HookCounts
from livedenoise.client.hooking.datasets import read
from livedenoise.client.hooking.deliver import Delivery
from livedenoise.client.hooking.image import (
    camera_channel,
    is_frozen,
    obstacle,
    placing_of,
    says_place,
)
from livedenoise.client.hooking.line import Line, Offer
from livedenoise.client.hooking.lines import borrow, give_back, unique_now_ns
from livedenoise.client.hooking.words import Words
from livedenoise.core.clock import now_ns
from livedenoise.core.closing import Closing
from livedenoise.core.frame import Frame
from livedenoise.micromanager.tags import Placing


class Hook(Closing):
    """What ``livedenoise.hook`` returns: give it to an acquisition, ask it for ``counts``.

    Close it, or use it in a ``with`` block around the acquisition, where other programs are to send
    to the same camera afterwards; the end of the program closes it too.
    """

    def __init__(
        self,
        endpoints: dict[str, str],
        *,
        keys: Path | None,
        lookup: Lookup,
        place: Placing | None,
        beside: str,
        copy: bool,
        buffer_mb: int,
        wait_s: float,
    ) -> None:
        self._words = Words()
        self._keys, self._lookup, self._copy = keys, lookup, copy
        self._count_lock = threading.Lock()
        self._images = self._handed = 0
        self._passed_by: Counter[str] = Counter()
        self._given_place = place
        self._placings: dict[object, Placing] = {}
        self._closed = False
        self._lines: dict[str, Line] = {}
        self._delivery: Delivery | None = None
        with ExitStack() as undo:
            undo.callback(self.close, 0.0)
            for name, endpoint in endpoints.items():
                self._lines[name] = borrow(
                    endpoint, keys=keys, buffer_mb=buffer_mb, words=self._words
                )
            if beside:
                self._delivery = Delivery(beside, keys=keys, words=self._words)
            undo.pop_all()
        self._say_who_is_absent(wait_s)

    def __call__(self, first: Any, second: Any, /) -> Any:  # noqa: ANN401
        """Take an image: ``(pixels, metadata)`` or ``(axes, dataset)``, as pycromanager calls.

        Returns
        -------
        tuple, list or None
            What pycromanager is to save: the image as it came, and where denoised images are due
            a list that has them too; None for ``image_saved_fn``.
        """
        stamp_ns = unique_now_ns()
        saved = isinstance(first, Mapping) and not isinstance(second, Mapping)
        with self._count_lock:
            self._images += 1
        try:
            if saved:
                return self._on_saved(stamp_ns, first, second)
            return self._on_image(stamp_ns, first, second)
        except Exception as error:  # noqa: BLE001  (it would abort the user's acquisition)
            self._pass_by("error", f"an image was not sent: {error!r}", trace=True)
        return None if saved else (first, second)

    def expect(self, events: object) -> None:
        """Say which events come next; they are numbered on after those before.

        Raises
        ------
        BusError
            If they are not a list of pycromanager's events.
        """
        self._lookup.expect(events)

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the daemon takes images of every endpoint; return whether it does."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        return all(
            line.wait_ready(max(0.0, (deadline_ns - now_ns()) * 1e-9))
            for line in self._lines.values()
        )

    def flush(self, timeout_s: float) -> bool:
        """Wait until no image waits or is on its way; return whether that came true."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        return all(
            line.flush(max(0.0, (deadline_ns - now_ns()) * 1e-9)) for line in self._lines.values()
        )

    def counts(self) -> HookCounts:
        """Return what became of every image so far."""
        lines = {line.endpoint: line.counts() for line in self._lines.values()}
        with self._count_lock:
            return HookCounts(
                images=self._images,
                handed=self._handed,
                passed_by=dict(self._passed_by),
                unknown_axes=self._lookup.unknown,
                lines=lines,
                denoised={} if self._delivery is None else self._delivery.counts(),
            )

    @property
    def said(self) -> list[str]:
        """Return the warnings so far, each once."""
        return list(self._words.said)

    def close(self, linger_s: float = 2.0) -> None:
        """Give what waits ``linger_s`` to arrive and disconnect. Idempotent; images then pass."""
        if self._closed:
            return
        self._closed = True
        deadline_ns = now_ns() + int(linger_s * 1e9)
        self.flush(linger_s)
        if self._delivery is not None:
            self._delivery.close(max(0.0, (deadline_ns - now_ns()) * 1e-9))
        for line in self._lines.values():
            left_s = max(0.0, (deadline_ns - now_ns()) * 1e-9)
            give_back(line, keys=self._keys, words=self._words, linger_s=left_s)
        self._say_what_is_missing()

    def _on_image(self, stamp_ns: int, image: Any, tags: Any) -> Any:  # noqa: ANN401
        reason = obstacle(image)
        if reason:
            self._pass_by(reason, _not_a_frame(reason, image))
            return image, tags
        metadata: Mapping[str, Any] = tags if isinstance(tags, Mapping) else {}
        axes = dict(metadata.get("Axes") or {})
        more: list[tuple[Frame, dict[str, Any]]] = []
        if self._delivery is not None and not self._closed:
            # Expected before it is sent: its denoised image must not come first.
            more = self._delivery.on_image(stamp_ns, image, axes, metadata)
        self._hand_over(stamp_ns, image, axes, metadata)
        return [(image, tags), *more] if more else (image, tags)

    def _on_saved(self, stamp_ns: int, axes: Axes, dataset: Any) -> None:  # noqa: ANN401
        image, metadata = read(dataset, axes, self._placings if len(self._lines) == 1 else ())
        if image is None:
            self._pass_by("unreadable", f"no image at {dict(axes)} in the data set")
            return
        reason = obstacle(image)
        if reason:
            self._pass_by(reason, _not_a_frame(reason, image))
            return
        if self._delivery is not None and not self._closed:
            self._delivery.on_saved(stamp_ns, image, dict(axes), dataset)
        self._hand_over(stamp_ns, image, dict(axes), metadata)

    def _hand_over(
        self, stamp_ns: int, image: Frame, axes: dict[str, Any], tags: Mapping[str, Any]
    ) -> None:
        line = self._line_for(axes, tags)
        if line is None or self._closed:
            reason = "closed" if self._closed else "no_endpoint"
            self._pass_by(reason, f"{reason}: image of {tags.get('Camera')}, axes {axes}")
            return
        key = image.shape if len(self._lines) == 1 else (line.endpoint, image.shape)
        placing = self._placings[key] = self._placing(tags, self._placings.get(key))
        offer = Offer(image, stamp_ns, placing, self._lookup.begin(axes))
        line.offer(offer, copy=self._copy and not is_frozen(image))
        with self._count_lock:
            self._handed += 1

    def _placing(self, tags: Mapping[str, Any], known: Placing | None) -> Placing:
        if known is None and self._given_place is None and not says_place(tags):
            self._words.warn(
                "placing",
                "images do not tell their region and binning, 0, 0 and 1 are assumed: give "
                "hook(binning=..., roi=(x, y))",
            )
        return placing_of(tags, known or self._given_place or Placing())

    def _line_for(self, axes: Axes, tags: Mapping[str, Any]) -> Line | None:
        if "" in self._lines:
            return self._lines[""]
        for name in (tags.get("Camera"), axes.get("camera"), axes.get("channel")):
            if str(name) in self._lines:
                return self._lines[str(name)]
        return self._lines.get(str(camera_channel(tags)))

    def _pass_by(self, reason: str, text: str, *, trace: bool = False) -> None:
        with self._count_lock:
            self._passed_by[reason] += 1
        self._words.warn(reason, f"{text} (images like this pass; said once)", trace=trace)

    def _say_who_is_absent(self, wait_s: float) -> None:
        deadline_ns = now_ns() + int(wait_s * 1e9)
        for line in self._lines.values():
            if not line.wait_ready(max(0.0, (deadline_ns - now_ns()) * 1e-9)):
                self._words.warn(
                    f"absent {line.endpoint}",
                    f"no daemon takes images at {line.endpoint} now: images pass, and go to it as "
                    "soon as it runs (livedenoise run micromanager_tap)",
                )

    def _say_what_is_missing(self) -> None:
        counts = self.counts()
        if any(counts.dropped.values()):
            self._words.warn(
                "missing", f"{counts.taken} images reached the daemon, others not: {counts.dropped}"
            )


def _not_a_frame(reason: str, image: object) -> str:
    what = type(image).__name__
    if isinstance(image, np.ndarray):
        what = f"{image.shape} {image.dtype}"
    return f"an image of {what} is not sent ({reason}): frames are (Y, X) of uint8 or uint16"
