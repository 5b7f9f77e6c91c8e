"""Checking the denoiser without starting it: model package, engine of each camera, maps.

Reads the package and asks the engines what they cannot serve; opens none of them (``limits`` does,
in a child).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from livedenoise.bus.ring import RingSpec
from livedenoise.core.check_facts import Finding
from livedenoise.core.config import Config
from livedenoise.core.constants import CameraConstants, CameraMaps
from livedenoise.core.engine import ServeRequest
from livedenoise.core.errors import PackageError
from livedenoise.daemon import plan
from livedenoise.daemon.preflight import rig
from livedenoise.engines.package import ModelPackage, read_package, resolve_model
from livedenoise.engines.select import AUTO, CHAIN, ENGINES

_ANY = CameraConstants(gain_e_per_adu=1.0, offset_adu=100.0, read_noise_e=1.0)
"""Stands in for constants that will be estimated: what a frame costs does not depend on them."""

_NO_RING = RingSpec(name="", n_slots=4, slot_bytes=4096)


class EngineCheck:
    """The denoiser of each camera that opened and whose constants are resolved."""

    def __init__(
        self,
        config: Config,
        facts: Mapping[str, plan.CameraFacts],
        resolved: Mapping[str, plan.Resolved],
    ) -> None:
        self._config = config
        self._facts = facts
        self._resolved = resolved
        self._package: Path | None = None
        self._able: set[str] = set()

    def findings(self) -> list[Finding]:
        """Return what is known of model and engines; also when no camera opened."""
        denoise = self._config.denoise
        if not denoise.enabled:
            return [Finding(group="engine", name="denoiser", ok="ok", text="off: raw frames only")]
        if denoise.engine == "identity":
            return self._engines("")
        try:
            self._package = resolve_model(denoise.model)
            package = read_package(self._package)
        except PackageError as error:
            mend = error.hint or "denoise.model, or --model, must name a shipped model or a folder"
            text = error.message
            return [Finding(group="engine", name="model", ok="problem", text=text, mend=mend)]
        return [_describe(package), *self._engines(package.name)]

    def serving(self, camera: str) -> dict[str, Any] | None:
        """Return what a camera's denoise stage would be told to serve; None when it cannot be."""
        if camera not in self._able:
            return None
        facts, resolved = self._facts[camera], self._resolved[camera]
        if resolved.constants is None:
            resolved = msgspec.structs.replace(resolved, constants=_ANY)
        wiring = plan.denoise_wiring(
            self._config,
            facts,
            resolved,
            raw=_NO_RING,
            raw_endpoint="",
            clean=_NO_RING,
            clean_endpoint="",
            package=self._package,
        )
        serving: dict[str, Any] = wiring["serving"]
        return serving

    def _engines(self, model: str) -> list[Finding]:
        return [self._engine(camera, model) for camera in self._facts if camera in self._resolved]

    def _engine(self, camera: str, model: str) -> Finding:
        asked = self._config.denoise.engine
        try:
            request = self._request(camera)
        except ValueError as error:
            text, mend = str(error), "calibrate this camera, or mend its region"
            name = f"{camera}: maps"
            return Finding(group="engine", name=name, ok="problem", text=text, mend=mend)
        names = CHAIN if asked == AUTO else (asked,)
        reasons = [(name, ENGINES[name]().unsupported(request)) for name in names]
        found = rig.judge_engine(camera, asked, reasons, model)
        if found.ok != "problem":
            self._able.add(camera)
        return found

    def _request(self, camera: str) -> ServeRequest:
        prepared, denoise = self._facts[camera].prepared, self._config.denoise
        return ServeRequest(
            shape=prepared.shape,
            dtype=prepared.dtype,
            out_dtype=prepared.dtype,
            bit_depth=prepared.bit_depth,
            constants=self._resolved[camera].constants or _ANY,
            package=self._package,
            maps=self._maps(camera),
            precision=denoise.precision,
            threads=denoise.threads,
        )

    def _maps(self, camera: str) -> CameraMaps | None:
        """Return the maps as the denoise stage crops them: none for binned frames."""
        calibration, prepared = self._resolved[camera].calibration, self._facts[camera].prepared
        if calibration is None or calibration.maps is None or prepared.binning != 1:
            return None
        roi_x, roi_y = prepared.roi[:2]
        return calibration.maps.crop(roi_x, roi_y, prepared.shape[1], prepared.shape[0])


def _describe(package: ModelPackage) -> Finding:
    low, high = package.electron_range
    text = (
        f"{package.name} ({package.hash}), {package.kflop_per_px:.3g} kflop a pixel, trained for "
        f"{low:g} to {high:g} electrons"
    )
    return Finding(group="engine", name="model", ok="ok", text=text)
