"""Which sockets a configuration opens, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from network_kit import server_folder

from livedenoise.bus.doors import check_doors, doors, share_endpoint
from livedenoise.core.config import Config, load_config, parse_config
from livedenoise.core.errors import ConfigError

PRESET = Path(__file__).resolve().parents[2] / "hardware_configs" / "network.toml"
NETWORK = {"kind": "network", "width_px": 8, "height_px": 8}


def config_of(*cameras: dict[str, Any], **share: Any) -> Config:
    found = [{"name": f"cam{n}"} | NETWORK | camera for n, camera in enumerate(cameras)]
    return parse_config({"camera": found, "share": share}, "test")


def test_metrics_come_first_then_the_frames_of_each_camera() -> None:
    config = config_of({}, {"listen": "tcp://127.0.0.1:5571"}, enabled=True, port=6000)
    check_doors(config)
    assert [door.endpoint.rpartition(":")[2] for door in doors(config)] == [
        "5570",
        "5571",
        "6000",
        "6001",
        "6002",
    ]
    assert share_endpoint(config) == "tcp://127.0.0.1:6000"
    assert share_endpoint(config, 1) == "tcp://127.0.0.1:6002"


def test_nothing_shared_opens_nothing() -> None:
    assert len(doors(config_of({}))) == 1
    assert len(doors(config_of({}, enabled=True, frames="none"))) == 2
    assert not doors(parse_config({"camera": [{"kind": "simulated"}]}, "test"))


def test_all_that_is_exposed_is_named_at_once() -> None:
    config = config_of({"listen": "tcp://0.0.0.0:5570"}, enabled=True, host="192.0.2.7")
    with pytest.raises(ConfigError) as refused:
        check_doors(config)
    for needed in ("camera cam0: listen", "0.0.0.0:5570", "share.keys is not set", "192.0.2.7"):
        assert needed in refused.value.message
    assert "livedenoise keys" in refused.value.hint


def test_an_ipv6_host_is_written_as_one(tmp_path: Path) -> None:
    config = config_of({}, enabled=True, host="::1")
    check_doors(config)
    assert share_endpoint(config) == "tcp://[::1]:5580"
    with pytest.raises(ConfigError):
        check_doors(config_of({}, enabled=True, host="::"))


def test_with_keys_it_may_be_exposed_and_the_keys_must_be_there(tmp_path: Path) -> None:
    folder = server_folder(tmp_path / "keys")
    check_doors(config_of({"listen": "tcp://*:5570", "keys": str(folder)}))
    with pytest.raises(ConfigError, match="no such key file"):
        check_doors(config_of({"listen": "tcp://*:5570", "keys": str(tmp_path / "none")}))


def test_a_port_wanted_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="port 5570 is wanted twice"):
        check_doors(config_of({}, {}))
    with pytest.raises(ConfigError, match="port 5570 is wanted twice"):
        check_doors(config_of({}, enabled=True, port=5569))


def test_the_shipped_configuration_opens_loopback_only() -> None:
    text = PRESET.read_text(encoding="utf-8")
    config = load_config(PRESET)
    check_doors(config)
    assert text.startswith("#")
    assert "assumption" in text
    assert config.name == "network"
    assert config.share.enabled
    assert all("127.0.0.1" in door.endpoint for door in doors(config))
    assert all(door.keys is None for door in doors(config))
