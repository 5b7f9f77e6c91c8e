"""The interpreter ends fast and silently, whatever became of Micro-Manager meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from bridge.client import BridgeProcess

CHILD = """
import sys
from livedenoise.core.errors import CameraError
from livedenoise.micromanager.java_core import connect_java

core = connect_java("127.0.0.1", int(sys.argv[1]), 0.5)
core.call("startContinuousSequenceAcquisition", 0.0)
frames = [core.peek(0) for _ in range(3)]
vector = core._core.call("getLoadedDevices")
studio = core.studio()
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[2] == "ask":
    try:
        core.exposure_ms()
    except CameraError as error:
        sys.exit(error.exit_code)
if sys.argv[2] == "drop":
    del vector, studio, core
"""


@pytest.mark.parametrize(
    ("end", "last", "code"),
    [("kill", "nothing", 0), ("kill", "ask", 3), ("kill", "drop", 0),
     ("hang", "nothing", 0), ("hang", "ask", 3), ("none", "nothing", 0)],
)  # fmt: skip
def test_the_interpreter_ends_fast_and_silently(
    bridge: BridgeProcess, end: str, last: str, code: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(bridge.port), last],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    if end == "kill":
        bridge.kill()
    elif end == "hang":
        bridge.fault("hang", "*", times=-1)
    began = time.perf_counter()
    out, err = child.communicate("go\n", timeout=10)
    took_s = time.perf_counter() - began
    assert (child.returncode, out, err) == (code, "", "")
    assert took_s < 3.0
