"""A denoiser that is killed between two messages: every frame is published once, by it or its heir.

The predecessor is a stage in this process whose releases never leave it, as when the process is
killed before the thread that sends them had its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
import zmq
from stream_kit import SHAPE, Stream, make_spec, open_stream, pixels_of

from livedenoise.bus import wire
from livedenoise.bus.backlog import Lossless
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.reader import FrameReader, Received
from livedenoise.bus.ring import RingSpec
from livedenoise.bus.rescue import frames_left
from livedenoise.bus.ring import Ring
from livedenoise.bus.writer import FrameWriter
from livedenoise.core.constants import CameraConstants
from livedenoise.daemon.rings import CLEAN, LineRings
from livedenoise.denoise.serve import DenoiseStage
