"""Receive the metrics of a running daemon: rates, losses, latency.

python docs/examples/watch_metrics.py tcp://127.0.0.1:5580
"""

import argparse
import sys

from livedenoise.client import MetricsSubscriber
from livedenoise.core.errors import ConfigError


def main() -> int:
    """Print a line for each camera of each snapshot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", help="[share] host and port, tcp://ADDRESS:PORT")
    parser.add_argument("--keys", help="folder for-NAME made by livedenoise keys")
    parser.add_argument("--snapshots", type=int, default=20, help="stop after so many")
    parser.add_argument("--timeout", type=float, default=10.0, metavar="S", help="of silence")
    arguments = parser.parse_args()

    with MetricsSubscriber(arguments.endpoint, keys=arguments.keys) as metrics:
        while metrics.received < arguments.snapshots:
            snapshot = metrics.receive(timeout_s=arguments.timeout)
            if snapshot is None:
                print(
                    f"no metrics from {arguments.endpoint} {metrics.problem or '(no answer)'}",
                    file=sys.stderr,
                )
                return 1
            for stream in snapshot.streams:
                print(
                    f"{snapshot.elapsed_s:7.1f} s {stream.camera} {stream.fps_in:.1f} fps in, "
                    f"{stream.fps_out:.1f} out, lost {stream.lost_at_camera}, "
                    f"dropped {stream.dropped}, p50 {stream.latency.p50:.1f} ms"
                )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigError as error:  # keys that cannot be used
        sys.exit(str(error))
