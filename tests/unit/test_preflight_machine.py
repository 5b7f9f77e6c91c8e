"""Judging clock, processors, power and ports, and reading what a machine says of itself."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from livedenoise.bus.keys import make_server_keys
from livedenoise.core.config import Config, parse_config
from livedenoise.daemon.preflight import machine, ports, readings
from livedenoise.daemon.preflight.ports import PortUse

SENDER = {"kind": "network", "width_px": 64, "height_px": 48}


def use(host: str = "127.0.0.1", port: int = 5570, keys: Path | None = None) -> PortUse:
    return PortUse(who="camera c", host=host, port=port, keys=keys, key="listen", keys_key="keys")


def test_a_coarse_clock_is_a_warning_and_one_that_goes_back_a_problem() -> None:
    assert machine.judge_clock(100, monotonic=True).ok == "ok"
    assert machine.judge_clock(10_000, monotonic=True).ok == "ok"
    assert machine.judge_clock(10_001, monotonic=True).ok == "warning"
    assert machine.judge_clock(100, monotonic=False).ok == "problem"


def test_one_processor_is_a_warning() -> None:
    assert machine.judge_processors(1, 4).ok == "warning"
    assert machine.judge_processors(2, 5).ok == "ok"
    assert "all together" in machine.judge_processors(2, 5).text
    assert "all together" not in machine.judge_processors(8, 5).text


@pytest.mark.parametrize(("load", "ok"), [(0.0, "ok"), (2.0, "ok"), (2.1, "warning")])
def test_a_busy_machine_is_a_warning(load: float, ok: str) -> None:
    found = machine.judge_load(load, 4)
    assert found is not None
    assert found.ok == ok
    assert machine.judge_load(None, 4) is None


def test_only_the_powersave_governor_is_a_warning() -> None:
    for governors, ok in (
        (["performance", "powersave"], "warning"),
        (["powersave"], "warning"),
        (["performance", "schedutil"], "ok"),
    ):
        found = machine.judge_governors(governors)
        assert found is not None
        assert found.ok == ok
    assert machine.judge_governors([]) is None


def config(**sections: object) -> Config:
    return parse_config({"name": "t", **sections}, "test")


def test_ports_are_those_of_network_cameras_and_of_sharing() -> None:
    cameras = [
        SENDER | {"name": "a", "listen": "tcp://127.0.0.1:6001"},
        {"kind": "simulated", "name": "b"},
        SENDER | {"name": "c", "listen": "tcp://[::1]:*"},
    ]
    found = ports.ports_of(config(camera=cameras, share={"enabled": True, "port": 6100}))
    assert [(u.host, u.port) for u in found] == [
        ("127.0.0.1", 6001),
        ("::1", 0),
        ("127.0.0.1", 6100),
        ("127.0.0.1", 6101),
        ("127.0.0.1", 6102),
        ("127.0.0.1", 6103),
    ]
    assert found[1].address == "[::1]:*"
    assert found[1].keys_key == "camera.2.keys"
    metrics = ports.ports_of(config(camera=cameras[1:2], share={"enabled": True, "frames": "none"}))
    assert [u.who for u in metrics] == ["share: metrics"]
    assert ports.ports_of(config(camera=cameras[1:2])) == []


def test_a_free_port_is_ok_and_refused_or_busy_ones_are_problems() -> None:
    assert ports.judge_port(use()).ok == "ok"
    assert ports.judge_port(use(), busy="Address already in use").ok == "problem"
    refused = ports.judge_port(use(), refused="exposed", mend="make keys")
    assert (refused.ok, refused.text, refused.mend) == ("problem", "exposed", "make keys")
    assert ports.judge_port(use(port=65536)).ok == "problem"
    assert ports.judge_port(use(port=65535)).ok == "ok"


def test_a_port_wanted_twice_is_a_problem() -> None:
    clashes = ports.judge_clashes([use(), use(), use(port=5571), use(port=0), use(port=0)])
    assert [finding.ok for finding in clashes] == ["problem"]
    assert ports.judge_clashes([use("127.0.0.1"), use("192.168.1.1")]) == []
    assert len(ports.judge_clashes([use("127.0.0.1"), use("*")])) == 1


def test_a_bound_port_is_seen_and_a_free_one_left_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert readings.try_port(use(port=port))
    assert readings.try_port(use(port=port)) == ""
    assert readings.try_port(use(port=port)) == ""


def test_beyond_loopback_needs_keys_that_can_be_read(tmp_path: Path) -> None:
    assert readings.refusal_of(use()) == ("", "")
    refused, mend = readings.refusal_of(use("0.0.0.0"))  # noqa: S104
    assert "keys is not set" in refused
    assert mend
    missing, _ = readings.refusal_of(use("0.0.0.0", keys=tmp_path / "none"))  # noqa: S104
    assert "no such key file" in missing
    make_server_keys(tmp_path / "keys")
    assert readings.refusal_of(use("0.0.0.0", keys=tmp_path / "keys")) == ("", "")  # noqa: S104


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:5 / /media/my\\040stick rw - vfat /dev/sdb1 rw
31 22 0:6 / /data rw shared:1 - nfs4 server:/x rw
32 31 0:7 / /data/fast rw - xfs /dev/nvme0 rw
33 31 0:8 / /data/fast rw - btrfs /dev/nvme1 rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", "ext4"),
        ("/", "ext4"),
        ("/media/my stick/runs", "vfat"),
        ("/data", "nfs4"),
        ("/database", "ext4"),
        ("/data/fast/runs", "btrfs"),
    ],
)
def test_the_innermost_mount_tells_the_file_system(path: str, kind: str) -> None:
    assert readings.parse_mounts(MOUNTS, Path(path)) == kind


def test_a_folder_yet_to_be_made_is_judged_by_the_one_above(tmp_path: Path) -> None:
    assert readings.existing_folder(tmp_path / "a" / "b") == tmp_path
    assert readings.existing_folder(tmp_path / "a") == tmp_path
    assert readings.existing_folder(tmp_path) == tmp_path
    assert not (tmp_path / "a").exists()


def test_trying_a_folder_leaves_nothing_and_tells_why_not(tmp_path: Path) -> None:
    assert readings.try_folder(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.write_text("")
    assert "Not a directory" in readings.try_folder(file)


def test_the_machine_is_read(tmp_path: Path) -> None:
    found = readings.read_machine(tmp_path)
    assert found.folder_error == ""
    assert found.disk_free > 0
    assert 0 < found.clock_step_ns < 1e6
    assert found.processors >= 1
    if os.path.exists("/proc/meminfo"):  # noqa: PTH110
        assert found.memory_available
