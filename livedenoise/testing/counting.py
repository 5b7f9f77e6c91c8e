"""An acquire stage whose camera counts what a test wants. For tests only.

Knows: the counters to report, from the environment. Must not know: what is made of them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from livedenoise.acquire.pump import AcquireStage

ENTRY = "livedenoise.testing.counting:CountingStage"
VARIABLE = "LIVEDENOISE_TEST_COUNTERS"
"""What the camera counts, as a JSON object; each process of the stage counts it once."""


class CountingStage(AcquireStage):
    """The acquire stage as it is, with a camera that has something to count."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        counters: dict[str, int] = json.loads(os.environ[VARIABLE])
        self._camera.counters = lambda: counters  # type: ignore[attr-defined]
