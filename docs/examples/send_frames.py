"""Send frames to a running daemon, without ever waiting for it.

    livedenoise run network
    python docs/examples/send_frames.py tcp://127.0.0.1:5570 --frames 500 --rate 50

Replace ``camera`` by your own source of (Y, X) arrays of uint8 or uint16.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np

from livedenoise.client import FrameSender
from livedenoise.core.errors import ConfigError


def camera(frames: int, rate_hz: float, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield simulated counts: an offset, a slope, Poisson noise."""
    rng = np.random.default_rng(0)
    electrons = np.broadcast_to(np.linspace(2.0, 60.0, shape[1]), shape)
    pool = [(100 + rng.poisson(electrons)).astype(np.uint16) for _ in range(8)]
    start = time.perf_counter()
    for number in range(frames):
        time.sleep(max(0.0, start + number / rate_hz - time.perf_counter()))
        yield pool[number % len(pool)]


def main() -> int:
    """Send, and say what became of every frame."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", help="the camera's key 'listen', tcp://ADDRESS:PORT")
    parser.add_argument("--keys", help="folder for-NAME made by livedenoise keys")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=50.0, metavar="HZ")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512), metavar=("H", "W"))
    arguments = parser.parse_args()

    with FrameSender(arguments.endpoint, keys=arguments.keys) as sender:
        if not sender.wait_ready(timeout_s=10.0):
            print(
                f"nobody takes frames at {arguments.endpoint}: {sender.problem or 'no answer'}",
                file=sys.stderr,
            )
            return 1
        for pixels in camera(arguments.frames, arguments.rate, tuple(arguments.size)):
            # With timeout_s=0 this never waits; a frame there is no room for is counted.
            sender.send(pixels, exposure_us=10_000, t_camera_ns=time.time_ns())
        sender.flush(timeout_s=5.0)
        counts = sender.counts()
    print(f"{counts.taken} of {counts.offered} frames taken", counts.dropped, counts.refused)
    return 0 if counts.taken == counts.offered else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigError as error:  # keys that cannot be used
        sys.exit(str(error))
