"""Which frames of a simulated camera go wrong: seeded, so that every run repeats them.

Knows: the faults section of the configuration and frame numbers.
Must not know: pixels, clocks, rings.

- Dropped: the exposure happened and took its number, but the frame never arrives.
- Duplicated: the frame is delivered twice with the same number, time and pixels.
- Stall, burst: ``acquire.pacing`` (no frames for a time; frames held back and delivered
  together).
- Disconnect: the frame and all after it never come; the camera reports an error.
- Resize: from that frame on the camera delivers another size without being asked.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from livedenoise.core.camera_config import FaultConfig
from livedenoise.core.errors import CameraError

_BLOCK = 4096
_SEED_TAG = 0xFA017


class FaultPlan:
    """Decides, for every frame number, which fault it has.

    Parameters
    ----------
    faults : FaultConfig
        The faults section.
    seed : int
        Seed of the camera.
    name : str
        Name of the camera, for messages.
    """

    def __init__(self, faults: FaultConfig, seed: int, name: str) -> None:
        self._faults = faults
        self._seed = seed
        self._name = name
        self._random = faults.drop_probability > 0 or faults.duplicate_probability > 0
        self._draws = lru_cache(maxsize=2)(self._draw_block)

    @property
    def resizes(self) -> bool:
        """Return whether the frames ever change their size."""
        return self._faults.resize_at_frame >= 0

    def resized(self, number: int) -> bool:
        """Return whether frame ``number`` has the new size."""
        return 0 <= self._faults.resize_at_frame <= number

    def dropped(self, number: int) -> bool:
        """Return whether frame ``number`` never arrives."""
        return self._random and self._draw(number, 0) < self._faults.drop_probability

    def duplicated(self, number: int) -> bool:
        """Return whether frame ``number`` arrives twice."""
        return self._random and self._draw(number, 1) < self._faults.duplicate_probability

    def check_connected(self, number: int) -> None:
        """Raise CameraError when the camera is gone by frame ``number``."""
        if 0 <= self._faults.disconnect_at_frame <= number:
            raise CameraError(
                f"camera {self._name}: connection lost at frame {number}",
                "check cable and power of the camera, then start a new run "
                "(simulated: faults.disconnect_at_frame)",
            )

    def _draw(self, number: int, kind: int) -> float:
        return float(self._draws(number // _BLOCK)[kind, number % _BLOCK])

    def _draw_block(self, block: int) -> npt.NDArray[np.float64]:
        entropy = np.random.SeedSequence([self._seed % 2**64, _SEED_TAG, block])
        return np.random.Generator(np.random.SFC64(entropy)).random((2, _BLOCK))
