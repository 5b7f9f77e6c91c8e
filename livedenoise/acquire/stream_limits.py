"""What a simulated camera can be asked: region, binning, rate and exposure within its limits.

Knows: the request, the sensor's size and readout time.
Must not know: pixels, pools, clocks.

Every refusal is a CameraError that names the value asked for and the limit.
"""

from __future__ import annotations

from livedenoise.core.camera import StreamRequest
from livedenoise.core.camera_config import SimulatedCameraConfig
from livedenoise.core.errors import CameraError
from livedenoise.imaging.sensor import readout_ns

Roi = tuple[int, int, int, int]
BINNINGS = (1, 2, 4)


def check_request(config: SimulatedCameraConfig, request: StreamRequest) -> Roi:
    """Return the region (x, y, width, height) of a request the camera can fulfil.

    Raises
    ------
    CameraError
        If region, binning, exposure, number of frames or events cannot be fulfilled.
    """
    name, sensor = config.name, config.sensor
    if request.binning not in BINNINGS:
        raise CameraError(
            f"camera {name}: binning {request.binning} is not one of {BINNINGS}",
            "set binning to 1, 2 or 4",
        )
    if request.exposure_us < 1:
        raise CameraError(
            f"camera {name}: exposure_us is {request.exposure_us}, the least is 1",
            "set a longer exposure_us",
        )
    if request.n_frames is not None and request.n_frames < 1:
        raise CameraError(
            f"camera {name}: {request.n_frames} frames were asked for, the least is 1",
            "ask for at least one frame",
        )
    if request.events:
        raise CameraError(
            f"camera {name}: {len(request.events)} events were asked for, it takes none",
            "ask for a stream of one exposure",
        )
    roi = request.roi or (0, 0, sensor.width_px, sensor.height_px)
    _check_roi(name, roi, (sensor.width_px, sensor.height_px))
    _check_divides(name, "region", roi, request.binning)
    return roi


def _check_roi(name: str, roi: Roi, size: tuple[int, int]) -> None:
    x, y, width, height = roi
    inside = x >= 0 and y >= 0 and x + width <= size[0] and y + height <= size[1]
    if width < 1 or height < 1 or not inside:
        raise CameraError(
            f"camera {name}: region {width}x{height} at ({x}, {y}) lies outside the sensor of "
            f"{size[0]}x{size[1]} pixels",
            "roi is [x, y, width, height] in sensor pixels",
        )


def _check_divides(name: str, what: str, roi: Roi, binning: int) -> None:
    _, _, width, height = roi
    if width % binning or height % binning:
        fit = f"{width - width % binning}x{height - height % binning}"
        raise CameraError(
            f"camera {name}: {what} {width}x{height} does not divide by binning {binning}",
            f"use {fit}" if width >= binning and height >= binning else "use a larger region",
        )


def stream_period_ns(config: SimulatedCameraConfig, request: StreamRequest, rows: int) -> int:
    """Return the time between frames.

    Parameters
    ----------
    config : SimulatedCameraConfig
        Gives the readout time of a row.
    request : StreamRequest
        Exposure, and the rate; None for as fast as exposure and readout allow.
    rows : int
        Sensor rows that are read.

    Raises
    ------
    CameraError
        If the rate asked for is above what exposure or readout allow.
    """
    exposure_ns = request.exposure_us * 1000
    row_ns = readout_ns(config.sensor, rows, request.binning)
    least_ns = max(exposure_ns, row_ns)
    if request.rate_hz is None:
        return least_ns
    period_ns = round(1e9 / request.rate_hz)
    # One nanosecond of grace: a rate printed from a period must be accepted again.
    if period_ns + 1 >= least_ns:
        return max(period_ns, least_ns)
    if exposure_ns >= row_ns:
        limit = f"exposure_us = {request.exposure_us} allows {1e9 / exposure_ns:.6g} Hz"
        mend = "shorten exposure_us or lower rate_hz"
    else:
        limit = f"reading {rows} rows in {row_ns / 1000:.6g} us allows {1e9 / row_ns:.6g} Hz"
        mend = "read fewer rows (roi) or lower rate_hz; fewer columns are not faster"
    raise CameraError(
        f"camera {config.name}: rate_hz = {request.rate_hz:.6g} is too fast: {limit}", mend
    )


def resized_roi(config: SimulatedCameraConfig, roi: Roi, binning: int) -> Roi:
    """Return the region after a resize fault: the new size, moved inside where it fits.

    Raises
    ------
    CameraError
        If ``faults.resize_to`` is no size, or does not divide by the binning.
    """
    width, height = config.faults.resize_to
    if width < 1 or height < 1:
        raise CameraError(
            f"camera {config.name}: faults.resize_to is ({width}, {height}), both must be > 0",
            "faults.resize_at_frame goes with resize_to = [width, height] in sensor pixels",
        )
    x = max(0, min(roi[0], config.sensor.width_px - width))
    y = max(0, min(roi[1], config.sensor.height_px - height))
    resized = (x, y, width, height)
    _check_divides(config.name, "faults.resize_to", resized, binning)
    return resized
