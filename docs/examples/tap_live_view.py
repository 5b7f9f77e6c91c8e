"""Send the live view of a Micro-Manager core in this process to a running daemon.

    livedenoise run micromanager_tap
    python docs/examples/tap_live_view.py tcp://127.0.0.1:5570 --seconds 10

For people without a microscope: Micro-Manager's own demo camera stands in for one. With one, keep
the two lines that say so, and your own core.
"""

import argparse
import sys
import time
from typing import Any

import livedenoise
from livedenoise.core.errors import LiveDenoiseError


def demo_core(size: int, exposure_ms: float) -> Any:  # noqa: ANN401 - pymmcore has no types
    """Return a Micro-Manager core with its demo camera, of ``size`` x ``size`` pixels."""
    import mm_test_adapters
    import pymmcore

    core = pymmcore.CMMCore()
    folder = mm_test_adapters.device_adapter_path()
    core.setDeviceAdapterSearchPaths([folder])
    core.loadSystemConfiguration(f"{folder}/MMConfig_demo.cfg")
    core.setProperty("Camera", "PixelType", "16bit")
    core.setProperty("Camera", "OnCameraCCDXSize", str(size))
    core.setProperty("Camera", "OnCameraCCDYSize", str(size))
    core.setExposure(exposure_ms)
    return core


def main() -> int:
    """Run a live view for a while, tapped, and say what became of its frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("endpoint", nargs="?", default="tcp://127.0.0.1:5570")
    parser.add_argument("--keys", help="folder for-NAME made by livedenoise keys")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--exposure", type=float, default=20.0, metavar="MS")
    parser.add_argument("--size", type=int, default=512, metavar="PIXELS")
    arguments = parser.parse_args()

    try:
        core = demo_core(arguments.size, arguments.exposure)
    except ImportError as error:
        print(f"{error}: pip install 'livedenoise[micromanager-demo]'", file=sys.stderr)
        return 2
    tap = livedenoise.tap(core, arguments.endpoint, keys=arguments.keys)  # with a microscope, too

    core.startContinuousSequenceAcquisition(0)  # or your program's own live button
    end = time.monotonic() + arguments.seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        print(tap)
    core.stopSequenceAcquisition()

    tap.stop()  # with a microscope, too; it also ends with the program
    counts = tap.counts()
    print(f"{counts.sent.taken} of {counts.seen} frames taken, {counts.lost_in_core} never seen")
    return 0 if counts.sent.taken else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LiveDenoiseError as error:  # an endpoint or keys that cannot be used
        sys.exit(str(error))
