"""The small pictures: the middle of a frame, raw and denoised, at one pixel for one pixel.

Not the whole frame made small: averaging blocks of a 512 px frame down to 96 px takes out most of
the noise, so that the raw picture would look denoised by itself. A centred crop shows the noise as
it is. Both pictures of a frame get the same grey scale, from the denoised one where there is one:
percentiles of a noisy picture are mostly noise. The scale follows slowly, so that nothing flickers.

Knows: arrays. Must not know: displays, streams, clocks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from livedenoise.core.frame import Frame
from livedenoise.core.status import Preview

LOW_PERCENT = 0.5
HIGH_PERCENT = 99.7
_FOLLOW = 0.2
"""Part of the way to the new scale that each picture goes: a second at 5 pictures a second."""

_LEAST_SPAN_ADU = 1.0


class PreviewMaker:
    """Makes previews on one slowly adapting grey scale."""

    def __init__(self) -> None:
        self._scale: tuple[float, float] | None = None

    def reset(self) -> None:
        """Forget the grey scale: the next preview sets it anew."""
        self._scale = None

    def make(self, seq: int, raw: Frame, clean: Frame | None) -> Preview:
        """Return the preview of one frame.

        Parameters
        ----------
        seq : int
            Number of the frame.
        raw, clean : ndarray (Y, X)
            The same crop of the raw and of the denoised frame, counts; ``clean`` None where the
            frame was not denoised.

        Raises
        ------
        ValueError
            If the two differ in shape.
        """
        if clean is not None and clean.shape != raw.shape:
            raise ValueError(f"crops of different shape: {raw.shape} and {clean.shape}")
        low, high = self._follow(raw if clean is None else clean)
        return Preview(
            seq=seq,
            height=raw.shape[0],
            width=raw.shape[1],
            low_adu=low,
            high_adu=high,
            raw=_grey(raw, low, high).tobytes(),
            clean=b"" if clean is None else _grey(clean, low, high).tobytes(),
        )

    def _follow(self, picture: Frame) -> tuple[float, float]:
        shown = picture if picture.dtype.kind == "u" else picture[np.isfinite(picture)]
        if not shown.size:
            return self._scale or (0.0, 1.0)
        low, high = (float(p) for p in np.percentile(shown, (LOW_PERCENT, HIGH_PERCENT)))
        if self._scale is not None:
            low = self._scale[0] + _FOLLOW * (low - self._scale[0])
            high = self._scale[1] + _FOLLOW * (high - self._scale[1])
        self._scale = (low, high)
        return low, max(high, low + _LEAST_SPAN_ADU)


def _grey(picture: Frame, low: float, high: float) -> npt.NDArray[np.uint8]:
    scaled = (picture.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    # What is not a number is shown black.
    known = np.nan_to_num(np.clip(scaled, 0.0, 255.0), nan=0.0)
    grey: npt.NDArray[np.uint8] = np.rint(known).astype(np.uint8)
    return grey
