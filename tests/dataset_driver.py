"""A process of its own that writes data sets in children and kills them; run by a test.

``python dataset_driver.py FOLDER random|steps SEED FIELDS``. Each child is forked from this
process, which has no threads, so a kill costs milliseconds and not the start of an interpreter.
Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dataset_kit as kit
import tifffile

from livedenoise.collect.dataset import DatasetWriter
from livedenoise.record.raw_file import RawFile, open_existing, open_new
from livedenoise.testing.faults import Fault, FaultyFile

assert tifffile  # loaded once, before the first fork
LONGEST_S = 60.0
N_FIELDS = int(sys.argv[4])


class KillAtStep(Fault):
    """Kills the process at step ``at`` (from 1): a write (half of it), an fsync or a rename."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at
        self._step = 0

    def is_now(self) -> bool:
        self._step += 1
        return self._step == self._at

    def write(self, file: FaultyFile, data: memoryview) -> int:
        if self.is_now():
            file.really_write(data[: data.nbytes // 2])
            kill_myself()
        return file.really_write(data)

    def open_manifest(self, path: Path) -> RawFile:
        return FaultyFile(open_existing(path), self)

    def before(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``real`` as a step of its own: killed before it happens."""

        def step(*arguments: Any) -> Any:
            if self.is_now():
                kill_myself()
            return real(*arguments)

        return step

    def install(self) -> None:
        """Count the fsyncs and renames of this process, which is a child."""
        os.fsync = self.before(os.fsync)
        Path.replace = self.before(Path.replace)  # type: ignore[method-assign]


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write(folder: Path, acknowledge: int, disk: KillAtStep | None) -> None:
    """Create or resume, write what is left, and say so after every field."""
    files = {"open_file": disk or open_new}
    files["open_manifest"] = disk.open_manifest if disk else open_existing
    header = kit.make_header(n_fields=N_FIELDS)
    if (folder / "manifest.jsonl").exists():
        writer = DatasetWriter.resume(folder, header, **files)
    else:
        writer = DatasetWriter.create(folder, header, kit.PLAN, **files)
    with writer:
        for field, attempt in writer.found.left(N_FIELDS).items():
            at = attempt
            if field % 3 == 1 and attempt == 0:
                sites = [kit.make_site(field, verdicts=(kit.make_verdict("shift"),))]
                kit.add_field(writer, field, 0, sites=sites, status="retry")
                at = 1
            kit.add_field(writer, field, at, sites=sites_of(field))
            os.write(acknowledge, bytes([field]))


def sites_of(field: int) -> list[object]:
    """Return a field with an accepted and a rejected pair: two files."""
    return [kit.make_site(field, kit.LADDER, (kit.make_verdict("ratio"),))]


def run_child(folder: Path, kill_after: tuple[int, float] | None, disk: KillAtStep | None) -> dict:
    """Fork a writer; return what it acknowledged and how it ended.

    ``kill_after`` is after how many fields, and seconds later, it is killed.
    """
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receive)
        try:
            if disk is not None:
                disk.install()
            write(folder, send, disk)
        except BaseException as error:  # noqa: BLE001  (a child must never come back)
            sys.stderr.write(f"child: {error!r}\n")
            os._exit(1)
        os._exit(0)
    os.close(send)
    acknowledged = bytearray()
    deadline = time.monotonic() + LONGEST_S
    while True:
        if kill_after is not None and len(acknowledged) >= kill_after[0]:
            deadline, kill_after = time.monotonic() + kill_after[1], None
        ready, _, _ = select.select([receive], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + LONGEST_S
            continue
        found = os.read(receive, 1)
        if not found:
            break
        acknowledged += found
    os.close(receive)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"acknowledged": list(acknowledged), "code": code}


def main() -> None:
    folder, how, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    chance = random.Random(seed)
    runs = []
    while len(runs) < 400:
        if how == "random":
            # Once there were enough kills, the rest is written in peace.
            moment = chance.choice((0, 0, 1, 2)), chance.uniform(0.0, 0.012)
            runs.append(run_child(folder, moment if len(runs) < 15 else None, None))
        else:
            runs.append(run_child(folder, None, KillAtStep(chance.randint(1, 90))))
        if runs[-1]["code"] == 0:
            break
        if runs[-1]["code"] != -signal.SIGKILL:
            raise SystemExit(f"a child failed: {runs[-1]}")
    sys.stdout.write(json.dumps({"runs": runs}))


if __name__ == "__main__":
    main()
