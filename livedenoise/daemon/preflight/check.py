"""The preflight: opens the cameras, reads the machine, judges, measures. Never stops at the first.

Every step that fails becomes a ``problem`` and the others go on. Only a configuration that cannot
be read ends it earlier, with the error of the configuration itself.
"""

from __future__ import annotations

import msgspec

from livedenoise.bus.ring import RingSpec, segment_bytes
from livedenoise.core.camera_config import SceneConfig
from livedenoise.core.check_facts import Ceiling, CheckReport, Finding, Verdict
from livedenoise.core.config import (
    CameraConfig,
    Config,
    NetworkCameraConfig,
    SimulatedCameraConfig,
)
from livedenoise.core.errors import (
    EXIT_CONFIG,
    EXIT_OK,
    BusError,
    CalibrationError,
    LiveDenoiseError,
    StageError,
)
from livedenoise.core.progress import OnProgress, Progress, ignore_progress
from livedenoise.daemon import plan
from livedenoise.daemon.bring_up import OPEN_TIMEOUT_S
from livedenoise.daemon.options import RunOptions
from livedenoise.daemon.preflight import machine, ports, rig, space
from livedenoise.daemon.preflight.ceilings import ceilings, verdict
from livedenoise.daemon.preflight.demand import (
    Demand,
    demand_of,
    network_facts,
    process_count,
    recording_bytes,
    recording_bytes_per_s,
)
from livedenoise.daemon.preflight.denoiser import EngineCheck
from livedenoise.daemon.preflight.limits import Measured, Subject, measure
from livedenoise.daemon.preflight.probes import Answer, Job, Probes
from livedenoise.daemon.preflight.readings import Readings, read_machine, refusal_of, try_port

CAMERA_TIMEOUT_S = OPEN_TIMEOUT_S
"""As in a run: a rig's hardware configuration loads for up to a minute, cameras cool down."""

_TASK = "check"


class Preflight:
    """One preflight.

    Parameters
    ----------
    config : Config
        Configuration with the options applied.
    options : RunOptions
        Where recordings would go, and the planned duration where there is one.
    quick : bool
        Leave out the ceilings.
    readings : Readings, optional
        What the machine says; read when not given.
    camera_timeout_s : float
        How long a camera may take to open and prepare.
    """

    def __init__(
        self,
        config: Config,
        options: RunOptions,
        *,
        quick: bool = False,
        readings: Readings | None = None,
        camera_timeout_s: float = CAMERA_TIMEOUT_S,
        on_progress: OnProgress = ignore_progress,
    ) -> None:
        self._config = config
        self._options = options
        self._quick = quick
        self._readings = readings or read_machine(options.out)
        self._camera_timeout_s = camera_timeout_s
        self._on_progress = on_progress
        self._steps = 0
        self._findings: list[Finding] = []
        self._facts: dict[str, plan.CameraFacts] = {}
        self._resolved: dict[str, plan.Resolved] = {}
        self._demands: list[Demand] = []

    def run(self) -> CheckReport:
        """Check everything and return what was found."""
        self._check_cameras()
        for camera in self._config.camera:
            if camera.name in self._facts:
                self._check_constants(camera)
        self._check_memory()
        self._check_disk()
        self._check_network()
        engines = EngineCheck(self._config, self._facts, self._resolved)
        self._findings += engines.findings()
        self._check_machine()
        rows: list[Ceiling] = []
        verdicts: list[Verdict] = []
        if not self._quick and self._demands:
            rows, verdicts = self._measure(engines)
        levels = {found.ok for found in self._findings} | {one.ok for one in verdicts}
        return CheckReport(
            config=self._config.name,
            exit_code=EXIT_CONFIG if "problem" in levels else EXIT_OK,
            quick=self._quick,
            findings=tuple(self._findings),
            ceilings=tuple(rows),
            verdicts=tuple(verdicts),
        )

    def _check_cameras(self) -> None:
        self._step("cameras")
        asked = [c for c in self._config.camera if not isinstance(c, NetworkCameraConfig)]
        answers = {}
        if asked:
            with Probes() as probes:
                answers = probes.ask([_job(c) for c in asked], self._camera_timeout_s)
        for camera in self._config.camera:
            if isinstance(camera, NetworkCameraConfig):
                facts = network_facts(camera)
            else:
                found = self._opened(camera.name, answers[camera.name])
                if found is None:
                    continue
                facts = found
            demand = demand_of(self._config, facts)
            self._facts[camera.name] = facts
            self._demands.append(demand)
            self._findings.append(rig.judge_camera(facts.info, facts.prepared, demand))

    def _opened(self, name: str, answer: Answer) -> plan.CameraFacts | None:
        """Take what a camera's stage said; None when there is no camera to go on with."""
        if isinstance(answer, LiveDenoiseError):
            self._findings.append(rig.judge_failure(name, answer))
            return None
        told = msgspec.convert(answer.get("findings", ()), list[Finding])
        self._findings += told
        refusal = answer.get("refusal")
        if refusal is not None:
            error = StageError(refusal["message"], refusal["exit_code"], refusal["hint"])
            if not any(found.ok == "problem" and error.message in found.text for found in told):
                self._findings.append(rig.judge_failure(name, error))
            return None
        return msgspec.convert(answer, plan.CameraFacts)

    def _check_constants(self, camera: CameraConfig) -> None:
        facts = self._facts[camera.name]
        try:
            resolved = plan.resolve_constants(camera, facts)
        except CalibrationError as error:
            self._problem("cameras", f"{camera.name}: constants", error)
            return
        self._resolved[camera.name] = resolved
        estimate_frames = self._config.denoise.estimate_frames
        found = rig.judge_constants(camera.name, resolved.constants, estimate_frames)
        self._findings.append(found)
        if resolved.calibration is not None:
            bits, depth = resolved.calibration.bit_depth, facts.prepared.bit_depth
            differs = rig.judge_model_bits(camera.name, bits, depth)
            self._findings += [differs] if differs else []

    def _check_memory(self) -> None:
        total = 0
        for demand in self._demands:
            facts = self._facts[demand.camera]
            try:
                raw = plan.raw_ring(self._config, facts)
                total += segment_bytes(raw) + sum(map(segment_bytes, self._clean(facts)))
            except BusError as error:
                self._problem("memory", f"{demand.camera}: rings", error)
                continue
            depth = space.judge_ring_depth(demand.camera, raw.n_slots, demand.fps)
            self._findings.append(depth)
        if total:
            readings, processes = self._readings, process_count(self._config)
            self._findings += [
                space.judge_shared_memory(total, readings.shared_memory_free),
                space.judge_ram(total, processes, readings.memory_available),
            ]

    def _clean(self, facts: plan.CameraFacts) -> list[RingSpec]:
        return [plan.clean_ring(self._config, facts)] if self._config.denoise.enabled else []

    def _check_disk(self) -> None:
        readings, record = self._readings, self._config.record
        out = str(self._options.out)
        self._findings.append(space.judge_folder(out, readings.folder_error))
        part_size_bytes = record.part_size_mb << 20
        self._findings.append(space.judge_file_system(readings.file_system, part_size_bytes))
        if not self._demands:
            return
        if not any(demand.recorded_streams for demand in self._demands):
            self._findings.append(space.nothing_recorded())
            return
        total, rate = recording_bytes(self._demands), recording_bytes_per_s(self._demands)
        if total is not None:
            self._findings.append(space.judge_disk_total(readings.disk_free, total))
        else:
            planned = self._options.seconds
            self._findings.append(space.judge_disk(readings.disk_free, rate, planned))

    def _check_network(self) -> None:
        uses = ports.ports_of(self._config)
        for use in uses:
            refused, mend = refusal_of(use)
            usable = 0 < use.port <= 65535 and not refused
            busy = try_port(use) if usable else ""
            self._findings.append(ports.judge_port(use, refused=refused, mend=mend, busy=busy))
        self._findings += ports.judge_clashes(uses)

    def _check_machine(self) -> None:
        readings = self._readings
        told = (
            machine.judge_load(readings.load, readings.processors),
            machine.judge_governors(readings.governors),
        )
        processes = process_count(self._config)
        self._findings += [
            machine.judge_clock(readings.clock_step_ns, monotonic=readings.clock_monotonic),
            machine.judge_processors(readings.processors, processes),
            *(finding for finding in told if finding is not None),
        ]

    def _measure(self, engines: EngineCheck) -> tuple[list[Ceiling], list[Verdict]]:
        subjects = [
            Subject(
                demand=demand,
                bit_depth=self._facts[demand.camera].prepared.bit_depth,
                serving=engines.serving(demand.camera),
            )
            for demand in self._demands
        ]
        readings = self._readings
        found = measure(
            self._config,
            subjects,
            None if readings.folder_error else readings.folder,
            readings.disk_free,
            self._step,
        )
        self._take(found)
        self._on_progress(Progress(task=_TASK, done=1, total=1, unit="steps"))
        measured = [d for d in self._demands if found.costs[d.camera]]
        rows = ceilings(measured, found.costs, readings.processors)
        found_out = [verdict(demand, rows) for demand in measured]
        return rows, [one for one in found_out if one is not None]

    def _take(self, found: Measured) -> None:
        for camera, info in found.engines.items():
            self._findings.append(rig.judge_opened_engine(camera, info))
        groups = {"ring": "memory", "recorder": "disk"}
        for name, error in found.failures.items():
            self._problem(groups.get(name, "engine"), f"{name}, measured", error)

    def _problem(self, group: str, name: str, error: LiveDenoiseError) -> None:
        finding = Finding(group=group, name=name, ok="problem", text=error.message, mend=error.hint)
        self._findings.append(finding)

    def _step(self, what: str) -> None:
        self._on_progress(Progress(task=_TASK, done=self._steps, total=0, unit="steps", note=what))
        self._steps += 1


def _job(camera: CameraConfig) -> Job:
    settings = {"run_id": "check", "camera": _light(camera).model_dump(mode="json")}
    return Job(name=camera.name, entry=plan.INSPECT, settings=settings)


def _light(camera: CameraConfig) -> CameraConfig:
    """Return a simulated camera that renders one flat frame: what it delivers stays the same."""
    if not isinstance(camera, SimulatedCameraConfig):
        return camera
    scene = camera.scene if camera.scene.kind == "file" else SceneConfig(kind="flat")
    return camera.model_copy(update={"scene": scene, "pool_frames": min(1, camera.pool_frames)})
