"""The test bridge itself: unmodified pycromanager against it, and what it does wrong on order."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Any

import numpy as np
import pymmcore
import pytest
from bridge.client import BridgeProcess, PrivateSockets, bury
from bridge.core import load_core
from bridge.faults import EXIT_CODE
from mmpycorex import Core
from pycromanager import Studio
from pyjavaz import JavaObject

Eventually = Callable[..., Any]


@pytest.fixture
def bridge(calm_bridge: BridgeProcess) -> BridgeProcess:
    return calm_bridge


@pytest.fixture
def mortal(start_bridge: Callable[..., BridgeProcess]) -> BridgeProcess:
    return start_bridge()


@pytest.fixture
def core(bridge: BridgeProcess) -> Any:
    return Core(port=bridge.port, timeout=5000)


@pytest.fixture
def apart(pyjavaz_sockets: PrivateSockets) -> Iterator[ThreadPoolExecutor]:
    """Run calls that may never return apart from the test; they end with pyjavaz's sockets."""
    del pyjavaz_sockets
    executor = ThreadPoolExecutor(4)
    yield executor
    executor.shutdown(wait=False)


def run_sequence(core: Any, frames: int) -> None:
    core.start_sequence_acquisition(frames, 0, True)
    while core.is_sequence_running():
        pass


# Calls


def test_numbers_texts_and_flags(core: Any) -> None:
    core.set_exposure(5)
    core.set_exposure("Camera", 7.5)
    assert core.get_exposure() == 7.5
    assert core.get_version_info() == load_core().getVersionInfo()
    assert core.is_sequence_running() is False
    assert core.get_bytes_per_pixel() == 2


def test_camel_case_as_well(bridge: BridgeProcess) -> None:
    core = Core(port=bridge.port, convert_camel_case=False, timeout=5000)
    assert core.getImageWidth() == 512
    assert core.getNBeforeLastTaggedImage
    assert not hasattr(core, "get_image_width")


def test_vectors_settings_and_rectangle(core: Any) -> None:
    devices = core.get_loaded_devices()
    assert "Camera" in [devices.get(index) for index in range(devices.size())]
    preset = core.get_config_data("Camera", "HighRes")
    setting = preset.get_setting(0)
    assert setting.get_device_label() == "Camera"
    assert setting.get_property_name() in {"Binning", "BitDepth"}
    core.set_roi(8, 16, 64, 32)
    region = core.get_roi()
    assert (region.x, region.y, region.width, region.height) == (8, 16, 64, 32)
    assert str(core.get_property_type("Camera", "Binning").to_string()) == "Integer"


def test_a_number_for_a_property_meets_the_wrong_overload(core: Any) -> None:
    core.set_property("Camera", "FastImage", "1")
    assert core.get_property("Camera", "FastImage") == "1"
    with pytest.raises(Exception, match=r'java.lang.Exception: Cannot set property "FastImage"'):
        core.set_property("Camera", "FastImage", 1)


def test_a_vector_of_the_clients(bridge: BridgeProcess, core: Any) -> None:
    core.set_property("Camera", "UseExposureSequences", "Yes")
    exposures = JavaObject("mmcorej.DoubleVector", port=bridge.port)
    for exposure_ms in (1, 10.5):
        exposures.add(exposure_ms)
    assert (exposures.size(), exposures.get(1)) == (2, 10.5)
    core.load_exposure_sequence("Camera", exposures)
    core.start_exposure_sequence("Camera")
    run_sequence(core, 4)
    means = [core.pop_next_image().mean() for _ in range(4)]
    core.stop_exposure_sequence("Camera")
    assert means[1] > 5 * means[0]
    assert means[:2] == means[2:]


# Images


@pytest.mark.parametrize("pixel_type", ["8bit", "16bit"])
def test_snapped_image_is_the_cores_bit_for_bit(core: Any, pixel_type: str) -> None:
    real = load_core()
    real.setProperty("Camera", "PixelType", pixel_type)
    core.set_property("Camera", "PixelType", pixel_type)
    real.snapImage()
    core.snap_image()
    expected = real.getImage()
    tagged = core.get_tagged_image()
    assert tagged.pix.dtype == expected.dtype
    assert np.array_equal(tagged.pix.reshape(512, 512), expected)
    assert np.array_equal(core.get_image(), tagged.pix)


def test_sequence_gives_the_cores_images_and_tags(core: Any) -> None:
    real = load_core()
    real.startSequenceAcquisition(3, 0, True)
    run_sequence(core, 3)
    while real.isSequenceRunning():
        pass
    assert np.array_equal(core.get_last_image(), core.get_last_tagged_image().pix)
    assert core.get_n_before_last_tagged_image(2).tags["ImageNumber"] == "0"
    for number in range(3):
        metadata = pymmcore.Metadata()
        expected = real.popNextImageMD(metadata)
        popped = core.pop_next_tagged_image()
        assert np.array_equal(popped.pix, expected.ravel())
        assert popped.tags["ImageNumber"] == str(number) == tag(metadata, "ImageNumber")
        assert set(metadata.GetKeys()) <= set(popped.tags)
    assert core.get_remaining_image_count() == 0
    with pytest.raises(Exception, match="Circular buffer is empty"):
        core.pop_next_image()


def tag(metadata: Any, name: str) -> str:
    return str(metadata.GetSingleTag(name).GetValue())


def test_tags_are_those_of_java(core: Any) -> None:
    core.set_roi(8, 16, 64, 32)
    core.snap_image()
    tags = core.get_tagged_image().tags
    assert len(tags) > 120
    assert tags["ROI"] == "8-16-64-32"
    assert (tags["Width"], tags["Height"], tags["PixelType"]) == (64, 32, "GRAY16")
    assert tags["Camera-Binning"] == tags["Binning"] == "1"


def test_two_cameras_are_told_apart_by_the_cores_own_tag(bridge: BridgeProcess, core: Any) -> None:
    bridge.user("loadDevice", "Camera2", "DemoCamera", "DCam")
    bridge.user("loadDevice", "Both", "Utilities", "Multi Camera")
    for device in ("Camera2", "Both"):
        bridge.user("initializeDevice", device)
    bridge.user("setProperty", "Camera2", "PixelType", "16bit")
    bridge.user("setProperty", "Both", "Physical Camera 1", "Camera")
    bridge.user("setProperty", "Both", "Physical Camera 2", "Camera2")
    core.set_camera_device("Both")
    core.set_exposure(1)
    assert core.get_number_of_camera_channels() == 2
    run_sequence(core, 1)
    tags = [core.pop_next_tagged_image().tags for _ in range(2)]
    names = {each["Camera"]: each["Both-CameraChannelIndex"] for each in tags}
    assert names == {"Camera": "0", "Camera2": "1"}
    assert [each["CameraChannelIndex"] for each in tags] == [0, 0]  # as in Java: what was asked


def test_objects_are_counted_and_let_go(bridge: BridgeProcess, core: Any) -> None:
    core.snap_image()
    images = [core.get_tagged_image() for _ in range(3)]
    assert bridge.traffic()["objects"] == {"mmcorej.CMMCore": 1, "mmcorej.TaggedImage": 3}
    del images
    assert bridge.traffic()["objects"] == {"mmcorej.CMMCore": 1}


def test_a_new_socket_is_served_while_another_waits(
    bridge: BridgeProcess, core: Any, apart: ThreadPoolExecutor, eventually: Eventually
) -> None:
    other = Core(port=bridge.port, new_socket=True, timeout=5000)
    bridge.fault("hang", "getExposure")
    waiting = apart.submit(core.get_exposure)
    eventually(lambda: bridge.traffic()["hanging"])
    assert other.get_image_width() == 512
    assert not waiting.done()
    bridge.order("release")
    assert waiting.result(5) == 10.0


# Studio


def test_live_mode_reads_without_taking(bridge: BridgeProcess, eventually: Eventually) -> None:
    live = Studio(port=bridge.port, timeout=5000).live()
    live.set_live_mode_on(True)
    assert live.is_live_mode_on()
    eventually(lambda: bridge.state()["live_frames_read"] > 1)
    core = Core(port=bridge.port, timeout=5000)
    assert core.pop_next_tagged_image().tags["ImageNumber"] == "0"
    live.set_suspended(True)
    assert (bridge.user("isSequenceRunning"), live.is_live_mode_on()) == (False, True)
    live.set_suspended(False)
    assert bridge.user("isSequenceRunning")
    live.set_live_mode_on(False)
    assert not bridge.user("isSequenceRunning")


def test_a_picture_can_be_displayed(bridge: BridgeProcess) -> None:
    studio = Studio(port=bridge.port, timeout=5000)
    data, live = studio.data(), studio.live()
    picture = np.arange(12, dtype=np.uint16).reshape(3, 4)
    coords, metadata = data.coords_builder().t(7).build(), data.metadata_builder().build()
    # numpy's uint16 is Java's char, which Micro-Manager refuses
    with pytest.raises(Exception, match="Pixel type is not supported"):
        data.create_image(picture, 4, 3, 2, 1, coords, metadata)
    live.display_image(data.create_image(picture.view(np.int16), 4, 3, 2, 1, coords, metadata))
    (shown,) = bridge.state()["displayed"]
    assert (shown["shape"], shown["coords"]) == ([3, 4], {"time": 7})
    assert shown["crc32"] == zlib.crc32(picture.tobytes())


# What a user does meanwhile


def test_the_user_changes_things_under_the_client(bridge: BridgeProcess, core: Any) -> None:
    before = bridge.state()
    bridge.user("setROI", 0, 0, 32, 32)
    bridge.user("setExposure", 33.0)
    bridge.user("setProperty", "Camera", "Binning", "2")
    assert core.get_exposure() == 33.0
    assert core.get_property("Camera", "Binning") == "2"
    after = bridge.state()
    changed = {key for key in before if before[key] != after[key]}
    assert {"roi", "exposure_ms", "properties"} <= changed


def test_the_users_live_view_by_order(
    bridge: BridgeProcess, core: Any, eventually: Eventually
) -> None:
    bridge.order("numbering", period=3)
    bridge.order("live", on=True, reader="none")
    assert core.is_sequence_running()
    eventually(lambda: core.get_remaining_image_count() > 5)
    numbers = [int(core.pop_next_tagged_image().tags["ImageNumber"]) for _ in range(5)]
    assert numbers == [0, 1, 2, 0, 1]
    bridge.order("live", on=False)
    assert not core.is_sequence_running()


def test_reset_is_like_a_new_start(bridge: BridgeProcess) -> None:
    new = bridge.state()
    core = Core(port=bridge.port, timeout=5000)
    core.set_roi(0, 0, 16, 16)
    core.set_property("Camera", "Binning", "2")
    core.set_circular_buffer_memory_footprint(32)
    bridge.fault("throw", "getExposure")
    bridge.order("live", on=True)
    bury()
    bridge.order("reset")
    assert bridge.state() == new


# Misbehaviour


def test_wrong_version_is_said(bridge: BridgeProcess) -> None:
    sock = raw_socket(bridge.port)
    try:
        bridge.order("version", text="2.0.0")
        assert ask(sock, command="connect", debug=False) == {"type": "none", "version": "2.0.0"}
        bridge.order("version", text="")
        assert ask(sock, command="connect", debug=False) == {"type": "none"}
    finally:
        sock.close(0)


def test_a_mute_server_holds_the_port(mortal: BridgeProcess) -> None:
    mortal.fault("hang", times=-1)
    sock = raw_socket(mortal.port)
    try:
        assert ask(sock, timeout_ms=100, command="connect", debug=False) is None
        assert mortal.traffic()["hanging"] == 1
    finally:
        sock.close(0)


def raw_socket(port: int) -> Any:
    import zmq

    sock = zmq.Context.instance().socket(zmq.REQ)
    sock.connect(f"tcp://127.0.0.1:{port}")
    return sock


def ask(sock: Any, timeout_ms: int = 5000, **message: Any) -> Any:
    sock.send_json(message)
    return sock.recv_json() if sock.poll(timeout_ms) else None


def test_throws_in_a_named_call_after_others(bridge: BridgeProcess, core: Any) -> None:
    bridge.fault("throw", "setProperty", argument="Binning", skip=1, message="no such luck")
    core.set_property("Camera", "FastImage", "1")
    core.set_property("Camera", "Binning", "2")
    with pytest.raises(Exception, match="no such luck"):
        core.set_property("Camera", "Binning", "1")
    core.set_property("Camera", "Binning", "1")


def test_answers_another_value(bridge: BridgeProcess, core: Any) -> None:
    bridge.order("answer", call="getVersionInfo", value="MMCore version 10.0.0")
    assert core.get_version_info() == "MMCore version 10.0.0"
    bridge.order("release")
    assert core.get_version_info() != "MMCore version 10.0.0"


def test_delays(bridge: BridgeProcess, core: Any, apart: ThreadPoolExecutor) -> None:
    bridge.fault("delay", "getExposure", delay_ms=150)
    late = apart.submit(core.get_exposure)
    with pytest.raises(NotYet):
        late.result(0.05)
    assert late.result(5) == 10.0


@pytest.mark.parametrize("after", [False, True])
def test_hangs_before_or_after_a_call_is_executed(
    bridge: BridgeProcess,
    core: Any,
    apart: ThreadPoolExecutor,
    eventually: Eventually,
    after: bool,
) -> None:
    bridge.fault("hang", "setExposure", after=after)
    waiting = apart.submit(core.set_exposure, 5.0)
    eventually(lambda: bridge.traffic()["hanging"])
    assert bridge.user("getExposure") == (5.0 if after else 10.0)
    bridge.order("release")
    waiting.result(5)
    assert bridge.user("getExposure") == 5.0


@pytest.mark.parametrize("after", [False, True])
def test_dies_in_a_call(mortal: BridgeProcess, apart: ThreadPoolExecutor, after: bool) -> None:
    core = Core(port=mortal.port, timeout=5000)
    mortal.fault("die", "setExposure", after=after)
    never: Future[Any] = apart.submit(core.set_exposure, 5.0)
    assert mortal.wait_dead() == EXIT_CODE
    with pytest.raises(NotYet):
        never.result(0.1)  # as with Java: pyjavaz waits for ever
    bury()


def test_ends_with_its_parent(mortal: BridgeProcess) -> None:
    process = mortal._process
    assert process.stdin is not None
    process.stdin.close()
    assert mortal.wait_dead() == 0


def test_the_last_words_of_a_socket_that_pyjavaz_closes_arrive(
    pyjavaz_sockets: PrivateSockets,
) -> None:
    """Pycromanager says "finished" and closes; an acquisition that misses it never ends."""
    import zmq
    from acquisition_kit import free_ports
    from pyjavaz import PushSocket

    del pyjavaz_sockets
    (port,) = free_ports(1)
    with zmq.Context() as context, context.socket(zmq.PULL) as heard:
        heard.rcvhwm = 1
        heard.connect(f"tcp://127.0.0.1:{port}")
        spoken = PushSocket(port)
        for number in range(100):  # more than is under way when the socket is closed
            spoken.send({"number": number, "padding": "." * 100_000})
        spoken.send({"special": "finished"})
        spoken.close()
        for _ in range(100):
            assert heard.poll(2000)
            heard.recv_multipart()
        assert heard.recv_multipart() == [b'{"special": "finished"}']
