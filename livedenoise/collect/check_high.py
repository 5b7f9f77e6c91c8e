"""What the checks need of a high image, made once for all that is compared with it.

Knows: one high shot: its signal, its spectrum, its drift. Must not know: limits, verdicts, files.

Every rung of a ladder, and the second low image of a bracket, is compared with the same high image.
Pairs are judged by several threads: whoever comes first computes, the others wait for it.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from livedenoise.collect.check_camera import FloatImage, PairCamera
from livedenoise.collect.check_light import signal_of
from livedenoise.collect.shots import Taken
from livedenoise.imaging.cross_spectrum import (
    LEAST_SIDE_PX,
    N_RINGS,
    ImageSpectrum,
    image_spectrum,
)
from livedenoise.imaging.registration import Shift, measure_shift

_DRIFT_BINNING = 2

NO_SHIFT = Shift((0.0, 0.0), float("inf"), 0.0, found=False, cross=np.zeros(N_RINGS))


class High:
    """A high shot as the checks see it.

    Attributes
    ----------
    signal : Signal
        Above offset.
    spectrum : ImageSpectrum or None
        Of the signal; None for images under 32 pixels a side.
    drift : Shift
        Of the last frame of an average against its first.
    """

    def __init__(self, taken: Taken, camera: PairCamera) -> None:
        self.signal = signal_of(taken, camera)
        self.spectrum: ImageSpectrum | None = None
        if min(self.signal.image.shape) >= LEAST_SIDE_PX:
            self.spectrum = image_spectrum(self.signal.image)
        self.drift = _drift(taken, camera)


class HighShots:
    """The high shots of one field, each looked at once; safe to share between threads.

    It holds on to them: one for each field, not one for a run.
    """

    def __init__(self, camera: PairCamera) -> None:
        self._camera = camera
        self._guard = Lock()
        self._locks: dict[int, Lock] = {}
        self._known: dict[int, tuple[Taken, High]] = {}

    def of(self, taken: Taken) -> High:
        """Return what is known of a high shot."""
        key = id(taken)
        with self._guard:
            lock = self._locks.setdefault(key, Lock())
        with lock:
            # The shot is kept beside it, so that no other can get its id.
            if key not in self._known:
                self._known[key] = (taken, High(taken, self._camera))
            return self._known[key][1]


def _drift(high: Taken, camera: PairCamera) -> Shift:
    ends = _ends(high, camera)
    if ends is None or min(ends[0].shape) < _DRIFT_BINNING * LEAST_SIDE_PX:
        return NO_SHIFT
    return measure_shift(*ends, least_binning=_DRIFT_BINNING)


def _ends(high: Taken, camera: PairCamera) -> tuple[FloatImage, FloatImage] | None:
    if high.first is None or high.last is None or high.shot.frames < 2:
        return None
    first, last = (camera.signal_adu(f, high.shot.exposure_us) for f in (high.first, high.last))
    return first, last
