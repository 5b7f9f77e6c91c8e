"""``mmcorej.CMMCore``: a real core with MMCoreJ's additions to its calls.

Knows: MMCoreJ's Java-only calls (tagged images, Rectangle, Point2D) and how errors read in Java.
Must not know: the wire, who calls, misbehaviour (``faults``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mm_test_adapters
import pymmcore

from bridge.core_api import as_core_argument, core_specs
from bridge.java import OBJECT, STRING, JavaError, JavaObject, Spec, method
from bridge.tagged import TaggedImage, java_pixels, new_metadata, tagged_image
from bridge.values import (
    Configuration,
    DeviceType,
    DoubleVector,
    LongVector,
    Point,
    PropertyType,
    Rectangle,
    StrVector,
)

_WRAP = {
    "mmcorej.StrVector": StrVector, "mmcorej.DoubleVector": DoubleVector,
    "mmcorej.LongVector": LongVector, "mmcorej.Configuration": Configuration,
    "mmcorej.PropertyType": PropertyType, "mmcorej.DeviceType": DeviceType,
}  # fmt: skip
_TAGGED = "mmcorej.TaggedImage"


def load_core(configuration: str = "MMConfig_demo.cfg", buffer_mb: int = 64) -> Any:
    """Return a real core with a configuration: a file, or the name of one beside the adapters."""
    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([mm_test_adapters.device_adapter_path()])
    _configure(core, configuration, buffer_mb)
    return core


def _configure(core: Any, configuration: str, buffer_mb: int) -> None:
    # joined to an absolute path, the folder has no effect
    core.loadSystemConfiguration(str(Path(mm_test_adapters.device_adapter_path(), configuration)))
    core.setCircularBufferMemoryFootprint(buffer_mb)
    core.updateSystemStateCache()


class CMMCore(JavaObject, name="mmcorej.CMMCore"):
    """The one core of the server; every shadow of it is the same object.

    Attributes
    ----------
    real
        The core itself.
    numbering_period : int
        Image numbers restart after this many, as when the buffer wraps in MMCore up to 12.2.2;
        0 for never.
    """

    def __init__(self, configuration: str = "MMConfig_demo.cfg", buffer_mb: int = 64) -> None:
        self._setup = configuration, buffer_mb
        self.real = load_core(*self._setup)
        self.numbering_period = 0

    def reset(self) -> None:
        """Stop what runs and load the configuration anew."""
        if self.real.isSequenceRunning():
            self.real.stopSequenceAcquisition()
        _configure(self.real, *self._setup)
        self.numbering_period = 0

    @classmethod
    def java_specs(cls) -> list[Spec]:
        """Return MMCore's own calls and those added here."""
        return [*_PLAIN.values(), *cls.java_methods]

    def java_call(self, name: str, types: tuple[str, ...], arguments: list[Any]) -> Any:
        """Call the core, or one of the Java-only methods below."""
        try:
            spec = _PLAIN.get((name, types))
            if spec is None:
                return super().java_call(name, types, arguments)
            return self._plain(spec, arguments)
        except (RuntimeError, ValueError, IndexError, OSError, MemoryError) as error:
            raise JavaError(str(error)) from error

    def _plain(self, spec: Spec, arguments: list[Any]) -> Any:
        values = [
            as_core_argument(value, kind)
            for value, kind in zip(arguments, spec.arguments, strict=True)
        ]
        if spec.name == "setProperty" and isinstance(values[2], float):
            values[2] = f"{values[2]:.6f}"
        result = getattr(self.real, spec.name)(*values)
        wrap = _WRAP.get(spec.returns)
        return wrap(result) if wrap else result

    # Images, as flat arrays.

    @method(OBJECT)
    @method(OBJECT, "long")
    def get_image(self, *channel: int) -> Any:
        return java_pixels(self.real.getImage(*channel))

    @method(OBJECT)
    def get_last_image(self) -> Any:
        return java_pixels(self.real.getLastImage())

    @method(OBJECT)
    def pop_next_image(self) -> Any:
        return java_pixels(self.real.popNextImage())

    # Images with their tags.

    @method(_TAGGED)
    @method(_TAGGED, "int")
    def get_tagged_image(self, channel: int = 0) -> TaggedImage:
        return self._tagged(self.real.getImage(channel), new_metadata(), channel)

    @method(_TAGGED)
    @method(_TAGGED, "int")
    def get_last_tagged_image(self, channel: int = 0) -> TaggedImage:
        metadata = new_metadata()
        return self._tagged(self.real.getLastImageMD(channel, 0, metadata), metadata, channel)

    @method(_TAGGED, "long", name="getNBeforeLastTaggedImage")
    def get_n_before_last_tagged_image(self, before: int) -> TaggedImage:
        metadata = new_metadata()
        return self._tagged(self.real.getNBeforeLastImageMD(before, metadata), metadata)

    @method(_TAGGED)
    @method(_TAGGED, "int")
    def pop_next_tagged_image(self, channel: int = 0) -> TaggedImage:
        metadata = new_metadata()
        return self._tagged(self.real.popNextImageMD(channel, 0, metadata), metadata, channel)

    def _tagged(self, image: Any, metadata: Any, channel: int | None = None) -> TaggedImage:
        made = tagged_image(self.real, image, metadata, channel)
        number = made.tags.values.get("ImageNumber")
        if number is not None and self.numbering_period:
            made.tags.values["ImageNumber"] = str(int(number) % self.numbering_period)
        return made

    # Geometry.

    @method("java.awt.Rectangle", name="getROI")
    @method("java.awt.Rectangle", STRING, name="getROI")
    def get_roi(self, *label: str) -> Rectangle:
        return Rectangle(*self.real.getROI(*label))

    @method("java.awt.geom.Point2D$Double", name="getXYStagePosition")
    @method("java.awt.geom.Point2D$Double", STRING, name="getXYStagePosition")
    def get_xy_stage_position(self, *label: str) -> Point:
        return Point(*self.real.getXYPosition(*label))


_PLAIN = {(spec.name, spec.arguments): spec for spec in core_specs(pymmcore.CMMCore)}
