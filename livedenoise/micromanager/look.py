"""A camera of Micro-Manager as it is set now: read once, changed never.

Knows: which calls and properties tell it. Must not know: what is good or bad about it.

Nothing here exposes a frame or touches the region: a live view that runs goes on undisturbed.
"""

from __future__ import annotations

import msgspec

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.core import Core

_EXPOSURE = "Exposure"
_SENSORS = (
    ("X-dimension", "Y-dimension"),  # PVCAM
    ("OnCameraCCDXSize", "OnCameraCCDYSize"),  # DemoCamera
)
_READOUTS = {
    # Property to seconds. PVCAMUniversal.cpp; the Hamamatsu adapter's own metadata (0.0333 s for
    # an ORCA-Flash4.0 over USB 3). DemoCamera has one that sequences take no notice of.
    "Timing-ReadoutTimeNs": ("PVCAM", 1e-9),
    "ReadoutTime": ("HamamatsuHam", 1.0),
}
_GAIN, _OFFSET = "CONVERSION FACTOR COEFF", "CONVERSION FACTOR OFFSET"
"""Electrons per count and the offset, as DCAM cameras tell them themselves."""
_PCO_GAIN = "Conversion factor*100"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was read.

    Attributes
    ----------
    roi : tuple of int
        x, y, width, height in pixels as delivered.
    sensor : tuple of int
        (Y, X) where a property tells it, else (0, 0).
    exposure_limits_ms : tuple of float or None
        Where the camera has limits.
    sequence_exposures : int
        How many exposures the camera takes as a list, 0 for none.
    readout_s : float
        Shortest time between frames that the camera names, 0 for unknown.
    own_gain_e_per_adu : float
        What the camera says of itself, 0 for nothing.
    own_offset_adu : float or None
        None where it tells no offset.
    """

    camera: str
    library: str
    device: str
    description: str
    shape: tuple[int, int]
    roi: tuple[int, int, int, int]
    sensor: tuple[int, int]
    bytes_per_pixel: int
    components: int
    bit_depth: int
    pixel_type: str
    exposure_ms: float
    exposure_limits_ms: tuple[float, float] | None
    binning: str
    binnings: tuple[str, ...]
    sequence_exposures: int
    channels: int
    buffer_mb: int
    running: bool
    readout_s: float
    own_gain_e_per_adu: float
    own_offset_adu: float | None

    @property
    def frame_bytes(self) -> int:
        """Return the bytes of one frame."""
        return self.shape[0] * self.shape[1] * self.bytes_per_pixel


def look_at(core: Core, device: str = "") -> Look:
    """Read a camera.

    Parameters
    ----------
    core : Core
        The core.
    device : str
        Label of the camera, "" for the core's; size and exposure are those of the core's camera.

    Raises
    ------
    CameraError
        If there is no camera, or it does not answer.
    """
    camera = device or core.camera()
    if not camera:
        raise CameraError(
            "Micro-Manager has no camera", "add one to the hardware configuration (role Camera)"
        )
    names = core.texts("getDevicePropertyNames", camera)
    library = core.text("getDeviceLibrary", camera)
    return Look(
        camera=camera,
        library=library,
        device=core.text("getDeviceName", camera),
        description=core.text("getDeviceDescription", camera),
        shape=core.image_shape(),
        roi=core.roi(),
        sensor=_sensor(core, camera, names),
        bytes_per_pixel=int(core.number("getBytesPerPixel")),
        components=int(core.number("getNumberOfComponents")),
        bit_depth=core.bit_depth(),
        pixel_type=_text(core, camera, "PixelType", names),
        exposure_ms=core.exposure_ms(),
        exposure_limits_ms=_limits(core, camera, names),
        binning=_text(core, camera, "Binning", names),
        binnings=_allowed(core, camera, "Binning", names),
        sequence_exposures=_sequence_exposures(core, camera),
        channels=core.channels(),
        buffer_mb=int(core.number("getCircularBufferMemoryFootprint")),
        running=core.running(),
        readout_s=_readout_s(core, camera, names, library),
        own_gain_e_per_adu=_own_gain(core, camera, names),
        own_offset_adu=_number(core, camera, _OFFSET, names) if _OFFSET in names else None,
    )


def _text(core: Core, camera: str, name: str, names: tuple[str, ...]) -> str:
    return core.property(camera, name) if name in names else ""


def _number(core: Core, camera: str, name: str, names: tuple[str, ...]) -> float:
    text = _text(core, camera, name, names)
    try:
        return float(text)
    except ValueError:
        return 0.0


def _own_gain(core: Core, camera: str, names: tuple[str, ...]) -> float:
    return _number(core, camera, _GAIN, names) or _number(core, camera, _PCO_GAIN, names) / 100


def _allowed(core: Core, camera: str, name: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if name not in names:
        return ()
    return tuple(sorted(core.texts("getAllowedPropertyValues", camera, name), key=_by_size))


def _by_size(text: str) -> tuple[int, str]:
    return len(text), text


def _limits(core: Core, camera: str, names: tuple[str, ...]) -> tuple[float, float] | None:
    if _EXPOSURE not in names or not core.flag("hasPropertyLimits", camera, _EXPOSURE):
        return None
    low = core.number("getPropertyLowerLimit", camera, _EXPOSURE)
    high = core.number("getPropertyUpperLimit", camera, _EXPOSURE)
    return low, high


def _sequence_exposures(core: Core, camera: str) -> int:
    if not core.flag("isExposureSequenceable", camera):
        return 0
    return int(core.number("getExposureSequenceMaxLength", camera))


def _sensor(core: Core, camera: str, names: tuple[str, ...]) -> tuple[int, int]:
    for x_name, y_name in _SENSORS:
        if x_name in names and y_name in names:
            width = _number(core, camera, x_name, names)
            return int(_number(core, camera, y_name, names)), int(width)
    return 0, 0


def _readout_s(core: Core, camera: str, names: tuple[str, ...], library: str) -> float:
    for name, (owner, seconds) in _READOUTS.items():
        if owner == library:
            return _number(core, camera, name, names) * seconds
    return 0.0
