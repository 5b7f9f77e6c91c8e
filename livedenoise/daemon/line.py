"""One camera's line of processes: its rings and endpoints as they are now, and who reads whom.

Knows: how each stage of the line is configured from what exists, and who must be told when a
stream has a new writer. Must not know: when a stage is replaced, or in which order a run starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from livedenoise.acquire.numbering import Predecessor
from livedenoise.bus import wire
from livedenoise.bus.endpoints import Endpoints
from livedenoise.bus.ring import RingSpec, RingTotals
from livedenoise.core.config import CameraConfig, Config
from livedenoise.core.constants import CameraConstants
from livedenoise.core.errors import EXIT_INTERNAL, StageError
from livedenoise.core.losses import REPLACED
from livedenoise.daemon import plan
from livedenoise.daemon.camera_counters import counter_notes, counters_in
from livedenoise.daemon.rings import CLEAN, RAW, LineRings
from livedenoise.daemon.stages import StageHandle, Stages
from livedenoise.micromanager.changes import JOURNAL_PREFIX
from livedenoise.record.run_folder import CameraRecord, RunFolder

_VIEW_NICENESS = 10
"""Figures and pictures wait when the processor is needed for frames."""

_MENDS = {
    "too_large": ": raise its width_px and height_px",
    "dtype": ": its bit_depth is of other pixels; 8 takes 8-bit ones, 9 to 16 take 16-bit ones",
}
"""What a user who sends refused frames should change."""

WRITER = {RAW: "acquire", CLEAN: "denoise"}
READERS = {"acquire": ("record", "denoise", "view"), "denoise": ("record-clean", "view")}
"""For each kind that writes a stream: the kinds that read it."""


class LineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every line of a run shares."""

    config: Config
    stages: Stages
    endpoints: Endpoints
    folder: RunFolder
    package: Path | None
    token: str


class Line:
    """The stages of one camera."""

    def __init__(self, camera: CameraConfig, index: int, settings: LineSettings) -> None:
        self.camera = camera
        self.notes: list[str] = []
        self._index = index
        self._settings = settings
        self._stages = settings.stages
        self._facts: plan.CameraFacts | None = None
        self._resolved: plan.Resolved | None = None
        self._rings = LineRings()
        self._addresses: dict[str, str] = {}
        self._taught: StageHandle | None = None
        self.share_endpoint = ""

    @property
    def name(self) -> str:
        """Return the camera's name."""
        return self.camera.name

    @property
    def facts(self) -> plan.CameraFacts | None:
        """Return what the camera said of itself; None until it was opened."""
        return self._facts

    @property
    def handles(self) -> list[StageHandle]:
        """Return the line's stages, acquire first."""
        found = (self.get(kind) for kind in plan.KINDS)
        return [handle for handle in found if handle is not None]

    def get(self, kind: str) -> StageHandle | None:
        """Return a stage of this line, None when it has none of that kind."""
        return self._stages.get(kind, self.name)

    def existing(self, kind: str) -> StageHandle:
        """Return a stage of this line.

        Raises
        ------
        StageError
            If it has none of that kind.
        """
        handle = self.get(kind)
        if handle is None:
            raise StageError(f"there is no stage {kind}.{self.name}", EXIT_INTERNAL)
        return handle

    def spawn(self, kind: str, n_frames: int | None) -> StageHandle:
        """Start a stage's process; ``n_frames`` is how many a camera is still asked for."""
        run_id, config = self._settings.folder.run_id, self._settings.config
        settings: dict[str, Any] = {}
        if kind == "acquire":
            camera = self.camera.model_dump(mode="json")
            journal = self._settings.folder.path / "logs" / f"{JOURNAL_PREFIX}{self.name}.json"
            settings = {
                "run_id": run_id,
                "camera": camera,
                "n_frames": n_frames,
                "journal": str(journal),
            }
        elif kind == "denoise":
            settings = {"engine": config.denoise.engine}
        elif kind == "view":
            settings = {"niceness": _VIEW_NICENESS}
        token = self._settings.token
        return self._stages.spawn(kind, self.name, plan.ENTRIES[kind], settings, token)

    def wanted(self) -> list[str]:
        """Return the kinds of stages the configuration asks for, acquire first."""
        config = self._settings.config
        denoise = config.denoise.enabled
        wanted = {
            "acquire": True,
            "record": config.record.raw,
            "denoise": denoise,
            "record-clean": denoise and config.record.clean,
            "view": config.view.enabled or config.share.enabled,
        }
        return [kind for kind in plan.KINDS if wanted[kind]]

    def learn_facts(self) -> plan.CameraFacts:
        """Take what the camera said of itself and choose the camera constants.

        Raises
        ------
        StageError
            If a replaced camera process no longer delivers what the run was started with.
        """
        facts = msgspec.convert(self.existing("acquire").info, plan.CameraFacts)
        if self._facts is not None:
            self._require_same(facts, self._facts)
            return facts
        self._facts = facts
        self._resolved = plan.resolve_constants(self.camera, facts)
        notes = (*facts.info.notes, *facts.prepared.notes)
        self.notes += [f"{self.name}: {note}" for note in notes]
        record = CameraRecord(
            info=facts.info, prepared=facts.prepared, constants=self._resolved.constants
        )
        self._settings.folder.note_camera(self.name, record)
        return facts

    def configure(self, kind: str, *, successor: bool = False) -> None:
        """Tell a stage everything it needs; what it writes gets a new ring."""
        settings = {
            "acquire": self._acquire_wiring,
            "denoise": self._denoise_wiring,
            "record": lambda again: self._record_wiring("record", RAW, again),
            "record-clean": lambda again: self._record_wiring("record-clean", CLEAN, again),
            "view": self._view_wiring,
        }[kind](successor)
        self._stages.send(self.existing(kind), wire.Configure(settings=settings))

    def take_address(self, kind: str) -> None:
        """Keep where a ready stage serves its stream; note what it found."""
        ready = self.existing(kind).ready or {}
        for stream, writer in WRITER.items():
            if writer == kind:
                self._addresses[stream] = str(ready["endpoint"])
        if ready.get("share") and ready["share"] != self.share_endpoint:
            self.share_endpoint = str(ready["share"])
            self.notes.append(f"{self.name}: frames are shared at {self.share_endpoint}")
        if kind == "denoise":
            self._note_constants(ready.get("serving") or {})

    def announce(self, kind: str) -> None:
        """Tell the readers of a stage's stream that it has a new writer."""
        stream = RAW if kind == "acquire" else CLEAN
        order = wire.Reattach(
            stream=stream,
            ring=msgspec.to_builtins(self._ring(stream)),
            endpoint=self._addresses[stream],
            reason=REPLACED[stream],
        )
        for reader in READERS[kind]:
            handle = self.get(reader)
            if handle is not None and handle.configured:
                self._stages.send(handle, order)

    def linger_s(self) -> float:
        """Return how long the camera's process may take to leave: its exposure ends first."""
        if self._facts is None:
            return 0.0
        prepared = self._facts.prepared
        return max(prepared.period_ns * 1e-9, prepared.exposure_us * 1e-6)

    def raw_totals(self) -> RingTotals:
        """Return what the camera's processes captured in all, exact also for killed ones."""
        return self._rings.raw_totals()

    def clean_published(self) -> int:
        """Return how many clean frames a dead denoiser, not replaced yet, published."""
        return self._rings.clean_published()

    def learnt_constants(self) -> CameraConstants | None:
        """Return the constants in use: resolved at the start, else what a denoiser estimated."""
        if self._resolved is not None and self._resolved.constants is not None:
            return self._resolved.constants
        handle = self.get("denoise")
        now = {} if handle is None else handle.metrics.get("serving") or {}
        for serving in (now, self._stages.past("denoise", self.name).serving):
            if serving.get("constants"):
                return msgspec.convert(serving["constants"], CameraConstants)
        return None

    def teach_view(self) -> None:
        """Tell the view the camera constants a denoiser has estimated, once for each view."""
        view = self.get("view")
        if view is None or view.state != "running" or self._taught is view:
            return
        if self._resolved is None or self._resolved.constants is not None:
            self._taught = view
            return
        constants = self.learnt_constants()
        if constants is not None:
            self._taught = view
            facts = {"constants": msgspec.to_builtins(constants)}
            self._stages.send(view, wire.Learnt(facts=facts))

    def refusals(self) -> dict[str, int]:
        """Return what strangers were refused at this camera's sockets, by socket and reason."""
        found = {}
        for name, value in self._stages.totals("acquire", self.name).gauges.items():
            if name.startswith("camera.refused"):
                reason = name.removeprefix("camera.refused").strip("_") or "any"
                mend = _MENDS.get(reason, "")
                found[f"camera {self.name} ({reason}{mend})"] = int(value)
        shared = self._stages.totals("view", self.name).count("share_refused")
        return found | {f"shared frames of {self.name}": shared}

    def counter_notes(self) -> list[str]:
        """Return what the camera counted beside its frames, in words, over all its processes."""
        gauges = self._stages.totals("acquire", self.name).gauges
        return [f"{self.name}: {text}" for text in counter_notes(counters_in(gauges))]

    def close(self) -> None:
        """Remove the rings. Idempotent; their totals stay readable."""
        self._rings.close()

    def follow_left_rings(self) -> None:
        """Remove the rings of killed camera processes once the recorder has all they hold."""
        raw, record = self._rings.spec(RAW), self.get("record")
        if not self._rings.left or raw is None:
            return
        epoch = -1
        if record is not None and not record.over:
            epoch = int(record.metrics.get("gauges", {}).get("ring_epoch", -1))
        if record is None or record.over or epoch == raw.ring_epoch:
            self._rings.drop_left()

    def _acquire_wiring(self, successor: bool) -> dict[str, Any]:
        facts, resolved = self._known()
        # First: once a ring is put away, the last frame its killed writer published is counted.
        raw = self._new_ring(RAW, plan.raw_ring(self._settings.config, facts))
        predecessor = None
        if successor:
            before = self.raw_totals()
            predecessor = Predecessor(
                next_seq=before.last_seq + 1,
                last_host_ns=before.last_host_ns,
                period_ns=facts.prepared.period_ns,
            )
        expect = [k for k in ("record", "denoise") if self._owed(k)]
        save_truth = getattr(self.camera, "save_truth", False) and not successor
        folder = self._settings.folder
        return {
            "ring": msgspec.to_builtins(raw),
            "endpoint": self._bind_to(RAW),
            "lease_timeout_ns": self._settings.config.ring.lease_timeout_ms * 1_000_000,
            "calibration": "" if resolved.calibration is None else resolved.calibration.hash,
            "truth_path": str(folder.truth_file(self.name)) if save_truth else "",
            "expect": expect,
            "predecessor": msgspec.to_builtins(predecessor),
        }

    def _denoise_wiring(self, successor: bool) -> dict[str, Any]:
        facts, resolved = self._known()
        constants = self.learnt_constants() if successor else resolved.constants
        clean = self._new_ring(CLEAN, plan.clean_ring(self._settings.config, facts))
        # Frames it may be owed again although a predecessor, killed meanwhile, published them.
        after_seq = self._rings.clean_last_seq() if successor else -1
        return plan.denoise_wiring(
            self._settings.config,
            facts,
            msgspec.structs.replace(resolved, constants=constants),
            raw=self._ring(RAW),
            raw_endpoint=self._addresses[RAW],
            clean=clean,
            clean_endpoint=self._bind_to(CLEAN),
            package=self._settings.package,
            expect=[kind for kind in ("record-clean",) if self._owed(kind)],
            after_seq=after_seq,
        )

    def _record_wiring(self, kind: str, stream: str, successor: bool) -> dict[str, Any]:
        return plan.record_wiring(
            self._settings.config,
            ring=self._ring(stream),
            endpoint=self._addresses[stream],
            reader=kind,
            stream=stream,
            folder=self._settings.folder.stream_folder(stream, self.name),
            resume=successor,
            left_rings=[ring.spec for ring in self._rings.left] if stream == RAW else (),
        )

    def _view_wiring(self, successor: bool) -> dict[str, Any]:
        facts, _ = self._known()
        del successor  # a view keeps nothing
        return plan.view_wiring(
            self._settings.config,
            self._index,
            facts,
            self.learnt_constants(),
            raw=self._ring(RAW),
            raw_endpoint=self._addresses[RAW],
            clean=self._rings.spec(CLEAN),
            clean_endpoint=self._addresses.get(CLEAN, ""),
        )

    def _owed(self, kind: str) -> bool:
        """Return whether a stage is a LOSSLESS reader that lives, or is being replaced."""
        handle = self.get(kind)
        if handle is None or handle.over:
            return False
        return kind != "denoise" or plan.denoises_all(self._settings.config, self._known()[0])

    def _new_ring(self, stream: str, spec: RingSpec) -> RingSpec:
        made = self._rings.new(stream, spec)
        text = f"shared memory is short: a new ring has {self._rings.shrunk} slots"
        if self._rings.shrunk and not self._noted(text):
            self.notes.append(f"{self.name}: {text}")
        return made

    def _ring(self, stream: str) -> RingSpec:
        spec = self._rings.spec(stream)
        if spec is None:
            raise StageError(f"camera {self.name} has no {stream} ring yet", EXIT_INTERNAL)
        return spec

    def _bind_to(self, stream: str) -> str:
        # A new name each time: a reader of the old one must not reconnect to it by itself.
        return self._settings.endpoints.bind_to(f"{stream}-{self.name}-{self._rings.made}")

    def _known(self) -> tuple[plan.CameraFacts, plan.Resolved]:
        if self._facts is None or self._resolved is None:
            raise StageError(f"camera {self.name} is not open yet", EXIT_INTERNAL)
        return self._facts, self._resolved

    def _require_same(self, now: plan.CameraFacts, before: plan.CameraFacts) -> None:
        for key in ("max_shape", "dtype", "bit_depth"):
            found, wanted = getattr(now.prepared, key), getattr(before.prepared, key)
            if found != wanted:
                raise StageError(
                    f"camera {self.name}: after its restart {key} is {found}, it was {wanted}",
                    EXIT_INTERNAL,
                    "start a new run",
                )

    def _note_constants(self, serving: dict[str, Any]) -> None:
        constants = serving.get("constants")
        found: list[str] = []
        if constants is None:
            found.append("camera constants are estimated from the first frames")
        elif constants["source"] == "estimated" and not self._noted(constants["note"]):
            found.append(f"camera constants are estimated: {constants['note']}")
        found += (serving.get("engine") or {}).get("notes", ())
        for note in found:
            if not self._noted(note):
                self.notes.append(f"{self.name}: {note}")

    def _noted(self, text: str) -> bool:
        return any(text in note for note in self.notes)
