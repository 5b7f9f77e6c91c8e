"""A pycromanager acquisition whose images are denoised live: one more argument.

    pip install "livedenoise[micromanager-demo]"
    livedenoise run micromanager_tap
    python docs/examples/hook_acquisition.py

Runs Micro-Manager's demo camera, no microscope is needed. In your own script only the lines with
``livedenoise`` are new.
"""

import argparse
import sys
from typing import Any

import mm_test_adapters
from pycromanager import Acquisition, start_headless, stop_headless

import livedenoise
from livedenoise.core.errors import LiveDenoiseError


def main() -> int:
    """Acquire, and say what became of the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5570")
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--exposure", type=float, default=10.0, metavar="MS")
    parser.add_argument("--wait", type=float, default=1.0, metavar="S", help="for the daemon")
    arguments = parser.parse_args()

    events: list[dict[str, Any]] = [
        {"axes": {"time": number}, "exposure": arguments.exposure}
        for number in range(arguments.frames)
    ]
    folder = mm_test_adapters.device_adapter_path()
    start_headless(folder, "MMConfig_demo.cfg", python_backend=True)
    try:
        # The events are given twice: so each image travels with its commanded exposure.
        with livedenoise.hook(arguments.endpoint, events=events, wait_s=arguments.wait) as hook:
            with Acquisition(image_process_fn=hook) as acquisition:
                acquisition.acquire(events)
            hook.flush(5.0)
            counts = hook.counts()
    finally:
        stop_headless()
    stored = len(acquisition.get_dataset().get_image_coordinates_list())
    print(f"{stored} images in the data set, {counts.taken} reached the daemon {counts.dropped}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LiveDenoiseError as error:  # an option that cannot be
        sys.exit(str(error))
