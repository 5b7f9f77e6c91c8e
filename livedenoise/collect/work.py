"""Everything a collection needs, made in the right order: microscope, program, data set, camera.

Knows: which part is made from which, for a new data set and for one that is resumed. Must not
know: how any of them works.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

from livedenoise.collect.arriving import Arrival
from livedenoise.collect.camera_facts import (
    Known,
    StoppedError,
    as_darks,
    known_constants,
    make_camera,
    require_same_constants,
    scout,
    stored_camera,
    take_darks,
)
from livedenoise.collect.check_camera import PairCamera
from livedenoise.collect.dataset import DatasetWriter
from livedenoise.collect.dataset_lock import DatasetLock
from livedenoise.collect.dataset_resume import program_hash, require_new, require_same
from livedenoise.collect.finishing import Finisher
from livedenoise.collect.light_path import LightPath
from livedenoise.collect.manifest import read_header
from livedenoise.collect.memory import require_memory
from livedenoise.collect.pending import PendingFields
from livedenoise.collect.plan import Plan, make_program
from livedenoise.collect.plan_devices import check_devices
from livedenoise.collect.program import Program
from livedenoise.collect.records import MANIFEST_NAME, DatasetHeader
from livedenoise.collect.run import Collection, OnPair
from livedenoise.collect.stopwatch import Stopwatch
from livedenoise.collect.taking import ShotTaker
from livedenoise.core.clock import Clock
from livedenoise.core.config import CameraConfig
from livedenoise.core.frame import Frame
from livedenoise.core.microscope import Microscope, MicroscopeInfo
from livedenoise.core.progress import OnProgress


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a collection needs, made in the right order."""

    program: Program
    writer: DatasetWriter
    camera: PairCamera
    arrival: Arrival
    taker: ShotTaker
    stopwatch: Stopwatch
    pending: PendingFields
    finisher: Finisher
    left: dict[int, int]
    notes: list[str]

    @classmethod
    def prepare(
        cls,
        scope: Microscope,
        config: CameraConfig,
        plan: Plan,
        out: Path,
        *,
        lock: DatasetLock,
        clock: Clock,
        undo: ExitStack,
        on_progress: OnProgress,
        stop: threading.Event,
    ) -> Self:
        """Open the microscope and the data set; take darks and scout where the set is new.

        ``undo`` is given what must be closed at the end; ``lock`` is held by the caller.

        Raises
        ------
        LiveDenoiseError
            If any of it fails; nothing was exposed where the plan is at fault.
        StoppedError
            If ``stop`` is set before the darks are all taken: nothing was begun.
        """
        info = scope.open()
        begun = (out / MANIFEST_NAME).exists()
        start = read_header(out).start if begun else scope.position()
        program = make_program(plan, info, start)
        check_devices(scope, program, plan)
        require_memory(program, info)
        stopwatch = Stopwatch(clock)
        taker, arrival = _commanded(scope, info, program, stopwatch)
        known = known_constants(config, info)
        header = _header(program, info, known)
        notes: list[str] = []
        if begun:
            require_same(out, read_header(out), header)
            notes += require_same_constants(out, read_header(out), known)
            camera = stored_camera(out, read_header(out), known, info)
            writer = DatasetWriter.resume(out, header, lock=lock)
        else:
            begin = _Begin(program, info, known, taker, arrival, stop=stop)
            writer, camera = begin(header, plan, out, on_progress, lock)
        undo.callback(writer.close)
        pending = PendingFields(out)
        undo.callback(pending.close)
        return cls(
            program=program,
            writer=writer,
            camera=camera,
            arrival=arrival,
            taker=taker,
            stopwatch=stopwatch,
            pending=pending,
            finisher=Finisher(program, camera, writer, pending),
            left=writer.found.left(len(program.fields)),
            notes=[*writer.found.notes(), *notes],
        )

    def judge_left(self) -> None:
        """Judge and store the fields that a kill left on disk; they are no longer ``left``.

        Raises
        ------
        RecordError
            If one of them cannot be read or judged.
        """
        left = self.left

        def is_recorded(field: int, attempt: int) -> bool:
            return field not in left or attempt < left[field]

        for taken in self.pending.left(is_recorded):
            record, _ = self.finisher(taken)
            if record.status == "retry":
                left[record.field] = record.attempt + 1
            else:
                del left[record.field]
            self.notes.append(
                f"field {record.field}, exposed before the last end, was judged now: "
                f"{record.status}"
            )

    def collection(
        self, on_progress: OnProgress, on_pair: OnPair | None, stop: threading.Event
    ) -> Collection:
        """Return what takes the fields."""
        return Collection(
            self.program,
            arrival=self.arrival,
            taker=self.taker,
            stopwatch=self.stopwatch,
            keep=self.pending.keep,
            finish=self.finisher,
            on_progress=on_progress,
            on_pair=on_pair,
            stop=stop,
        )


def _commanded(
    scope: Microscope, info: MicroscopeInfo, program: Program, stopwatch: Stopwatch
) -> tuple[ShotTaker, Arrival]:
    """Return what takes shots and what goes to sites, which share the light."""
    light = LightPath(scope, info, program.light, stopwatch)
    taker = ShotTaker(
        scope,
        info,
        light,
        stopwatch,
        close_between=program.close_shutter_between,
        keep_frames=program.keep_frames,
    )
    return taker, Arrival(scope, info, light, stopwatch, program)


class _Begin:
    """Begins a data set: darks, a few frames for a gain nobody knows, the header."""

    def __init__(
        self,
        program: Program,
        info: MicroscopeInfo,
        known: Known,
        taker: ShotTaker,
        arrival: Arrival,
        *,
        stop: threading.Event,
    ) -> None:
        self._program = program
        self._info = info
        self._known = known
        self._taker = taker
        self._arrival = arrival
        self._stop = stop

    def __call__(
        self,
        header: DatasetHeader,
        plan: Plan,
        out: Path,
        on_progress: OnProgress,
        lock: DatasetLock,
    ) -> tuple[DatasetWriter, PairCamera]:
        require_new(out)
        text = plan.path.read_text(encoding="utf-8")
        darks = take_darks(self._program, self._taker, on_progress, self._stop)
        scouted, dose_us = self._scouted()
        camera = make_camera(self._known, self._info, darks, scouted)
        header = _with_camera(header, camera, scouted, dose_us)
        return DatasetWriter.create(out, header, text, as_darks(darks), lock=lock), camera

    def _scouted(self) -> tuple[list[Frame], float]:
        """Return a few frames of the first field and their dose, where a gain is to be found."""
        if self._known.constants is not None:
            return [], 0.0
        if self._stop.is_set():
            raise StoppedError(len(self._program.fields))
        sites = self._program.fields[0]
        self._arrival.field(0)
        self._arrival.site(sites[0])
        found = scout(self._program, self._taker)
        self._arrival.leave()
        return found


def _header(program: Program, info: MicroscopeInfo, known: Known) -> DatasetHeader:
    return DatasetHeader(
        plan_name=program.name,
        plan_hash=program.plan_hash,
        n_fields=len(program.fields),
        camera=info.camera.name,
        simulated=info.simulated,
        shape=info.shape,
        roi=info.roi,
        binning=info.binning,
        dtype=info.camera.dtype,
        bit_depth=info.camera.bit_depth,
        pixel_size_um=info.pixel_size_um,
        calibration="" if known.calibration is None else known.calibration.hash,
        notes=(*info.notes, *program.notes),
        start=program.start,
        program_hash=program_hash(program),
    )


def _with_camera(
    header: DatasetHeader, camera: PairCamera, scouted: list[Frame], dose_us: float
) -> DatasetHeader:
    constants, notes = camera.constants, header.notes
    if scouted:
        note = (
            f"gain estimated from {len(scouted)} frames of the first field, which cost it "
            f"{dose_us / 1000:.3g} ms at full light"
        )
        notes = (*notes, note)
    return msgspec.structs.replace(
        header,
        gain_e_per_adu=constants.gain_e_per_adu,
        offset_adu=constants.offset_adu,
        read_noise_e=constants.read_noise_e,
        excess_noise_factor=constants.excess_noise_factor,
        constants_source=constants.source,
        constants_model=constants.model,
        notes=notes,
        scout_dose_us=dose_us,
    )
