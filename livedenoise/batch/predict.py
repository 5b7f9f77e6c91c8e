"""Denoising recordings on disk with the same engines as the live plane.

Knows: the order of work: jobs, constants, engine, outputs. Must not know: command lines, screens.

One output per input, in the input's counts and (unless float32 is asked for) its type. A finished
output with the same provenance is skipped, so an interrupted run over a folder goes on where it
stopped; any other existing file is refused, never overwritten. Frames are read and written one by
one: memory does not grow with the length of a recording.

Example
-------
>>> results = predict(Path("movie.tif"), Path("out"), model="realtime-m")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from livedenoise.acquire.sources import open_source
from livedenoise.batch.constants import ConstantsFinder, Resolved
from livedenoise.batch.denoiser import Denoiser
from livedenoise.batch.jobs import Job, plan_jobs
from livedenoise.batch.provenance import (
    first_difference,
    identity_of,
    provenance_of,
    sample_sha256,
)
from livedenoise.batch.writers import check_place, open_output, read_provenance
from livedenoise.core.clock import now_ns
from livedenoise.core.constants import CameraConstants
from livedenoise.core.engine import EngineInfo, ServeRequest
from livedenoise.core.errors import ConfigError
from livedenoise.core.frame import Frame
from livedenoise.core.progress import OnProgress, Progress, ignore_progress
from livedenoise.core.source import FrameSource
from livedenoise.engines.package import ModelPackage, read_package, resolve_model

IDENTITY = "identity"
_UNUSED = CameraConstants(gain_e_per_adu=1.0, offset_adu=0.0, read_noise_e=0.0)


class PredictResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one input.

    ``status`` is ``"written"``, or ``"skipped"`` for an output finished earlier with the same
    provenance (``engine`` is then None). ``clipped_pixels`` counts over all frames. ``constants``
    is None for the identity engine, which uses none.
    """

    input: Path
    output: Path
    status: Literal["written", "skipped"]
    n_frames: int
    seconds: float
    clipped_pixels: int = 0
    constants: CameraConstants | None = None
    engine: EngineInfo | None = None
    tiled: bool = False
    notes: tuple[str, ...] = ()


def predict(
    input_path: Path,
    output_path: Path,
    *,
    model: str | Path = "realtime-m",
    engine: str = "auto",
    calibration: Path | None = None,
    constants: CameraConstants | None = None,
    dtype: Literal["same", "float32"] = "same",
    tile: int | None = None,
    threads: int = 0,
    on_progress: OnProgress = ignore_progress,
    cache_dir: Path | None = None,
) -> list[PredictResult]:
    """Denoise a recording, or every image and stack of a folder.

    Parameters
    ----------
    input_path, output_path : Path
        See ``batch.jobs`` for what they may be and how outputs are named.
    model : str or Path
        Shipped name or package folder; not used by the identity engine.
    engine : str
        ``"auto"``, ``"openvino"``, ``"onnxruntime"`` or ``"identity"``.
    calibration : Path, optional
        Calibration folder of the camera.
    constants : CameraConstants, optional
        Given by hand. Without either, those stored with the recording serve, else one estimate
        (see ``batch.constants``).
    dtype : str
        ``"same"`` as the input, or ``"float32"``: neither rounded nor clipped.
    tile : int, optional
        Edge of tiles in pixels; None tiles only very large frames.
    threads : int
        0 lets the engine choose.
    on_progress : callable
        Told of every frame, with a note where there is something to say.
    cache_dir : Path, optional
        Where compiled engines are kept.

    Returns
    -------
    list of PredictResult
        One for each input, in order.

    Raises
    ------
    ConfigError
        If inputs, outputs or options cannot be used; before anything is written.
    DenoiseError
        If the engine fails on a frame: outputs finished before stay, that one is not written.
    RecordError
        If an output cannot be written.
    """
    package = None if engine == IDENTITY else read_package(resolve_model(model))
    jobs = plan_jobs(input_path, output_path, as_float=dtype == "float32")
    for job in jobs:
        check_place(job.output, job.input)
    finder = ConstantsFinder(
        jobs,
        calibration=calibration,
        constants=constants,
        on_estimate=lambda line: on_progress(_note(input_path.name, line)),
    )
    denoiser = Denoiser(engine, package, tile)
    work = _Work(
        package, finder, denoiser, on_progress=on_progress, threads=threads, cache_dir=cache_dir
    )
    try:
        return work.run(jobs)
    finally:
        denoiser.close()


class _Work:
    """The jobs of one call."""

    def __init__(
        self,
        package: ModelPackage | None,
        finder: ConstantsFinder,
        denoiser: Denoiser,
        *,
        on_progress: OnProgress,
        threads: int,
        cache_dir: Path | None,
    ) -> None:
        self._package = package
        self._finder = finder
        self._denoiser = denoiser
        self._on_progress = on_progress
        self._threads = threads
        self._cache_dir = cache_dir
        self._told: set[str] = set()

    def run(self, jobs: Sequence[Job]) -> list[PredictResult]:
        """Do the jobs in order; whatever exists is judged before anything is written."""
        finished = [self._finished(job) for job in jobs]
        return [
            self._skipped(job, start) if done else self._write(job, start)
            for job, done in zip(jobs, finished, strict=True)
            for start in (now_ns(),)
        ]

    def _finished(self, job: Job) -> bool:
        """Return whether the job was done before; refuse any other file in its place."""
        if not job.output.exists():
            return False
        found = read_provenance(job.output)
        if found is None:
            reason = "it was not made by livedenoise"
        else:
            reason = first_difference(found, self._identity(job))
        if not reason:
            return True
        raise ConfigError(
            f"{job.output}: exists, and is not the result of this: {reason}",
            "name another output, or remove it",
        )

    def _identity(self, job: Job) -> dict[str, Any]:
        with open_source(job.input) as source:
            sample = sample_sha256(source)
        return identity_of(job, self._resolved(job), self._package, sample)

    def _resolved(self, job: Job) -> Resolved | None:
        """Return the job's constants (None for the identity engine) and say them once."""
        if self._package is None:
            return None
        resolved = self._finder.find(job)
        constants = resolved.constants
        line = (
            f"camera constants ({constants.source}): gain {constants.gain_e_per_adu:.4g} e/count, "
            f"offset {constants.offset_adu:.4g} counts, read noise {constants.read_noise_e:.3g} e"
        )
        for note in (line, constants.note, *resolved.notes):
            self._tell(job, note)
        return resolved

    def _tell(self, job: Job, line: str) -> None:
        if line and line not in self._told:
            self._told.add(line)
            self._on_progress(_note(job.input.name, line))

    def _skipped(self, job: Job, start_ns: int) -> PredictResult:
        line = f"{job.output} was finished before: skipped"
        self._on_progress(
            Progress(task=job.input.name, done=job.n_frames, total=job.n_frames, note=line)
        )
        resolved = self._resolved(job)
        return PredictResult(
            input=job.input,
            output=job.output,
            status="skipped",
            n_frames=job.n_frames,
            seconds=_seconds_since(start_ns),
            constants=None if resolved is None else resolved.constants,
            notes=job.notes,
        )

    def _write(self, job: Job, start_ns: int) -> PredictResult:
        resolved = self._resolved(job)
        identity = self._identity(job)
        info = self._denoiser.open(self._request(job, resolved))
        notes = (*job.notes, *(() if resolved is None else resolved.notes), *info.notes)
        for note in notes:
            self._tell(job, note)
        tiled = self._denoiser.tiled
        provenance = provenance_of(identity, self._package, info, tiled=tiled, notes=notes)
        clipped = self._convert(job, provenance)
        return PredictResult(
            input=job.input,
            output=job.output,
            status="written",
            n_frames=job.n_frames,
            seconds=_seconds_since(start_ns),
            clipped_pixels=clipped,
            constants=None if resolved is None else resolved.constants,
            engine=info,
            tiled=tiled,
            notes=notes,
        )

    def _convert(self, job: Job, provenance: dict[str, Any]) -> int:
        """Write the output; return how many pixels were clipped."""
        output = open_output(
            job.output,
            shape=job.shape,
            dtype=job.out_dtype,
            n_frames=job.n_frames,
            provenance=provenance,
        )
        clipped = 0
        with output, open_source(job.input) as source:
            for denoised in self._denoiser.run(_frames(source), job.input):
                output.append(denoised.pixels)
                clipped += denoised.clipped
                done = denoised.seq + 1
                self._on_progress(Progress(task=job.input.name, done=done, total=job.n_frames))
            output.finish()
        return clipped

    def _request(self, job: Job, resolved: Resolved | None) -> ServeRequest:
        return ServeRequest(
            shape=job.shape,
            dtype=job.dtype,
            out_dtype=job.out_dtype,
            bit_depth=job.bit_depth,
            constants=_UNUSED if resolved is None else resolved.constants,
            package=None if self._package is None else self._package.path,
            maps=None if resolved is None else resolved.maps,
            threads=self._threads,
            cache_dir=self._cache_dir,
        )


def _frames(source: FrameSource) -> Iterator[Frame]:
    for index in range(source.n_frames):
        yield source.read(index)


def _note(task: str, line: str) -> Progress:
    return Progress(task=task, done=0, total=0, note=line)


def _seconds_since(start_ns: int) -> float:
    return (now_ns() - start_ns) * 1e-9
