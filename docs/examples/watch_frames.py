"""Receive denoised frames as they are made: numbers, brightness, what was missed.

    python docs/examples/watch_frames.py tcp://127.0.0.1:5581

The newest frame matters here: a program that is too slow sees fewer frames, never older ones.
"""

import argparse
import sys
import time

from livedenoise.client import FrameSubscriber
from livedenoise.core.errors import ConfigError


def main() -> int:
    """Print a line for each frame."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", help="[share] host and port + 1, tcp://ADDRESS:PORT")
    parser.add_argument("--keys", help="folder for-NAME made by livedenoise keys")
    parser.add_argument("--stream", choices=("clean", "raw"), default="clean")
    parser.add_argument("--frames", type=int, default=100, help="stop after so many")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="of silence")
    arguments = parser.parse_args()

    with FrameSubscriber(
        arguments.endpoint, keys=arguments.keys, stream=arguments.stream
    ) as frames:
        while frames.received < arguments.frames:
            found = frames.receive(timeout_s=arguments.timeout)
            if found is None:
                print(
                    f"no frames from {arguments.endpoint} {frames.problem or '(no answer)'}",
                    file=sys.stderr,
                )
                return 1
            header, pixels = found
            # Same machine only: times of another machine's clock cannot be subtracted.
            age_ms = (time.perf_counter_ns() - header.t_host_ns) * 1e-6
            print(
                f"{header.camera} {header.seq} {header.shape} mean {pixels.mean():.1f} "
                f"age {age_ms:.1f} ms, lost {frames.lost}, skipped {frames.skipped}"
            )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigError as error:  # keys that cannot be used
        sys.exit(str(error))
