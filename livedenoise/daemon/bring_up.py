"""Bringing a run up: processes, rings and channels, each as soon as what it needs exists.

Order: every process is spawned at once (imports overlap), cameras are opened and prepared, then for
each camera the raw ring and its stream, the recorder, the clean ring and the denoiser, the clean
recorder. Nothing is started before everything is ready; acquire is started last.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus import wire
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.ring import Ring, RingSpec
from livedenoise.core.clock import now_ns
from livedenoise.core.config import CameraConfig, Config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import EXIT_ABORTED, EXIT_INTERNAL, StageError
from livedenoise.daemon import plan
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.record.run_folder import CameraRecord, RunFolder

_OPEN_TIMEOUT_S = 300.0
_READY_TIMEOUT_S = 60.0
_POLL_MS = 5


class BringUp:
    """Starts the stages of a run; ``rings``, ``facts`` and ``notes`` are its results."""

    def __init__(
        self,
        config: Config,
        stages: Stages,
        endpoints: Endpoints,
        folder: RunFolder,
        package: Path | None,
    ) -> None:
        self._config = config
        self._stages = stages
        self._endpoints = endpoints
        self._folder = folder
        self._package = package
        self._stop_requested: Callable[[], bool] = bool
        self.rings: list[Ring] = []
        self.facts: dict[str, plan.CameraFacts] = {}
        self.notes: list[str] = []

    def spawn(self, n_frames: int | None) -> None:
        """Start every process at once: they import while the cameras get ready."""
        stages, token = self._stages, secrets.token_hex(16)
        for camera in self._config.camera:
            settings = {
                "run_id": self._folder.run_id,
                "camera": camera.model_dump(mode="json"),
                "n_frames": n_frames,
            }
            stages.spawn("acquire", camera.name, plan.ACQUIRE, settings, token)
            if self._config.record.raw:
                stages.spawn("record", camera.name, plan.RECORD, {}, token)
            if self._config.denoise.enabled:
                warm = {"engine": self._config.denoise.engine}
                stages.spawn("denoise", camera.name, plan.DENOISE, warm, token)
                if self._config.record.clean:
                    stages.spawn("record-clean", camera.name, plan.RECORD, {}, token)

    def run(self, stop_requested: Callable[[], bool]) -> None:
        """Configure every stage and start them, acquire last.

        Raises
        ------
        LiveDenoiseError
            If a stage fails or does not answer, a ring does not fit, or a stop is requested.
        """
        self._stop_requested = stop_requested
        stages = self._stages
        self._await(stages.of_kind("acquire"), "info", _OPEN_TIMEOUT_S)
        for camera in self._config.camera:
            self._bring_up_stream(camera)
        self._await(list(stages.handles.values()), "ready", _READY_TIMEOUT_S)
        for kind in ("record-clean", "record", "denoise", "acquire"):
            for handle in stages.of_kind(kind):
                stages.send(handle, wire.Start())

    def _bring_up_stream(self, camera: CameraConfig) -> None:
        """Configure the stages of one camera, each as soon as what it reads from exists."""
        facts = self._camera_facts(camera)
        resolved = plan.resolve_constants(camera, facts)
        self._note_camera(camera.name, facts, resolved.constants)
        raw, raw_endpoint = self._bring_up_acquire(camera, facts, resolved)
        self._bring_up_record("record", "raw", camera.name, raw, raw_endpoint)
        denoise = self._stages.get("denoise", camera.name)
        if denoise is None:
            return
        clean = self._make_ring(plan.clean_ring(self._config, facts))
        settings = plan.denoise_wiring(
            self._config,
            facts,
            resolved,
            raw=raw,
            raw_endpoint=raw_endpoint,
            clean=clean,
            clean_endpoint=self._endpoints.bind_to(f"clean-{camera.name}"),
            package=self._package,
        )
        endpoint = self._configure_and_wait(denoise, settings)
        self._note_constants(camera.name, denoise)
        self._bring_up_record("record-clean", "clean", camera.name, clean, endpoint)

    def _camera_facts(self, camera: CameraConfig) -> plan.CameraFacts:
        facts = msgspec.convert(self._existing("acquire", camera.name).info, plan.CameraFacts)
        self.facts[camera.name] = facts
        notes = (*facts.info.notes, *facts.prepared.notes)
        self.notes += [f"{camera.name}: {note}" for note in notes]
        return facts

    def _bring_up_acquire(
        self, camera: CameraConfig, facts: plan.CameraFacts, resolved: plan.Resolved
    ) -> tuple[RingSpec, str]:
        raw = self._make_ring(plan.raw_ring(self._config, facts))
        calibration = resolved.calibration
        save_truth = getattr(camera, "save_truth", False)
        settings = {
            "ring": msgspec.to_builtins(raw),
            "endpoint": self._endpoints.bind_to(f"raw-{camera.name}"),
            "lease_timeout_ns": self._config.ring.lease_timeout_ms * 1_000_000,
            "calibration": "" if calibration is None else calibration.hash,
            "truth_path": str(self._folder.truth_file(camera.name)) if save_truth else "",
        }
        acquire = self._existing("acquire", camera.name)
        return raw, self._configure_and_wait(acquire, settings)

    def _bring_up_record(
        self, kind: str, stream: str, camera: str, ring: RingSpec, endpoint: str
    ) -> None:
        handle = self._stages.get(kind, camera)
        if handle is None:
            return
        settings = plan.record_wiring(
            self._config,
            ring=ring,
            endpoint=endpoint,
            reader=kind,
            stream=stream,
            folder=self._folder.stream_folder(stream, camera),
        )
        self._stages.send(handle, wire.Configure(settings=settings))

    def _configure_and_wait(self, handle: StageHandle, settings: dict[str, Any]) -> str:
        """Configure a stage and return the endpoint it opened."""
        self._stages.send(handle, wire.Configure(settings=settings))
        self._await([handle], "ready", _READY_TIMEOUT_S)
        return str((handle.ready or {})["endpoint"])

    def _note_constants(self, camera: str, denoise: StageHandle) -> None:
        serving = (denoise.ready or {}).get("serving") or {}
        constants = serving.get("constants")
        if constants is None:
            self.notes.append(f"{camera}: camera constants are estimated from the first frames")
        elif constants["source"] == "estimated" and not self._noted(constants["note"]):
            self.notes.append(f"{camera}: camera constants are estimated: {constants['note']}")
        for note in (serving.get("engine") or {}).get("notes", ()):
            self.notes.append(f"{camera}: {note}")

    def _note_camera(
        self, name: str, facts: plan.CameraFacts, constants: CameraConstants | None
    ) -> None:
        record = CameraRecord(info=facts.info, prepared=facts.prepared, constants=constants)
        self._folder.note_camera(name, record)

    def _noted(self, text: str) -> bool:
        return any(text in note for note in self.notes)

    def _make_ring(self, spec: RingSpec) -> RingSpec:
        self.rings.append(Ring.create(spec))
        return spec

    def _await(self, handles: list[StageHandle], what: str, timeout_s: float) -> None:
        """Wait until every handle has its ``what``; a failure of any stage ends the wait."""
        deadline_ns = now_ns() + int(timeout_s * 1e9)
        while any(getattr(handle, what) is None for handle in handles):
            self._stages.pump(_POLL_MS)
            for handle in self._stages.handles.values():
                if handle.failed is not None:
                    failed = handle.failed
                    raise StageError(failed.message, handle.failure_code, failed.hint)
            if self._stop_requested():
                raise StageError("stopped before the camera was started", EXIT_ABORTED)
            if now_ns() > deadline_ns:
                late = [h.name for h in handles if getattr(h, what) is None]
                raise StageError(
                    f"no answer within {timeout_s:.0f} s from {', '.join(late)}",
                    EXIT_INTERNAL,
                    f"logs: {self._folder.path / 'logs'}",
                )

    def _existing(self, kind: str, camera: str) -> StageHandle:
        handle = self._stages.get(kind, camera)
        if handle is None:
            raise StageError(f"there is no stage {kind}.{camera}", EXIT_INTERNAL)
        return handle
