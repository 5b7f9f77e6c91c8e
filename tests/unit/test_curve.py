"""Keys: who is let in, who is refused and counted, what is never bound without them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq
from network_kit import Stranger, context_of_gates, network_config, numbered, server_folder, taking
from stream_kit import SHAPE, make_header
from waiting import wait_until

from livedenoise.acquire.network import NetworkCamera
from livedenoise.bus import exposure
from livedenoise.bus.context import Context
from livedenoise.bus.exposure import safe_endpoint
from livedenoise.bus.keys import client_keys, make_client_keys, make_server_keys, server_keys
from livedenoise.bus.publish import FramePublisher, MetricsPublisher
from livedenoise.cli import main
from livedenoise.client import FrameSender, FrameSubscriber
from livedenoise.core.errors import ConfigError
from livedenoise.verbs.keys import keys as keys_verb

HEADER = make_header(0, stream="clean")
PIXELS = np.full(SHAPE, 3, np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a server's keys with the clients "one" and "two"."""
    return server_folder(tmp_path / "keys", "one", "two")


@pytest.fixture
def strangers(tmp_path: Path, folder: Path) -> dict[str, Path | None]:
    """Return clients without the right: no key, a key nobody authorised, another server's key."""
    other = server_folder(tmp_path / "other", "x")
    unknown = tmp_path / "unknown"
    shutil.copytree(other / "for-x", unknown)
    shutil.copy(folder / "server.public", unknown / "server.public")
    return {"none": None, "unknown": unknown, "other_server": other / "for-x"}


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    with context_of_gates(monkeypatch) as context:
        yield context


def test_a_client_with_keys_sends_also_over_loopback(folder: Path) -> None:
    with (
        taking(keys=str(folder)) as net,
        FrameSender(net.endpoint, keys=folder / "for-one") as sender,
    ):
        assert sender.send(numbered(5), timeout_s=5)
        wait_until(lambda: len(net.pixels) == 1)
        np.testing.assert_array_equal(net.pixels[0], numbered(5))
        assert net.counter("refused_handshake") == 0


@pytest.mark.parametrize("who", ["none", "unknown", "other_server"])
def test_a_wrong_or_missing_key_sends_nothing_and_is_counted(
    folder: Path, strangers: dict[str, Path | None], who: str
) -> None:
    with taking(keys=str(folder)) as net:
        with FrameSender(net.endpoint, keys=strangers[who]) as sender:
            wait_until(lambda: net.counter("refused_handshake") >= 1)
            assert not sender.send(numbered(0), timeout_s=0.05)
        assert not net.frames
        with FrameSender(net.endpoint, keys=folder / "for-two") as sender:
            assert sender.send(numbered(1), timeout_s=5)
            wait_until(lambda: len(net.frames) == 1)


def test_a_wrong_key_is_named_to_its_owner(folder: Path, strangers: dict[str, Path | None]) -> None:
    with (
        taking(keys=str(folder)) as net,
        FrameSender(net.endpoint, keys=strangers["unknown"]) as sender,
    ):
        wait_until(lambda: not sender.wait_ready(0.01) and "key" in sender.problem)


@pytest.mark.parametrize("who", ["none", "unknown", "other_server"])
def test_a_wrong_or_missing_key_receives_nothing_and_is_counted(
    context: Context, folder: Path, strangers: dict[str, Path | None], who: str
) -> None:
    publisher = FramePublisher(context, "tcp://127.0.0.1:*", keys=folder)
    with (
        FrameSubscriber(publisher.endpoint, keys=folder / "for-one") as friend,
        FrameSubscriber(publisher.endpoint, keys=strangers[who]) as stranger,
    ):

        def friend_heard() -> bool:
            publisher.publish(HEADER, PIXELS)
            return friend.receive(0.02) is not None

        wait_until(friend_heard)
        wait_until(lambda: publisher.refused >= 1)
        publisher.publish(HEADER, PIXELS)
        assert friend.receive(5) is not None
        assert stranger.receive(0.05) is None
    publisher.close()


def test_several_publishers_and_cameras_in_one_process(context: Context, folder: Path) -> None:
    publishers = [
        FramePublisher(context, "tcp://127.0.0.1:*", keys=folder),
        MetricsPublisher(context, "tcp://127.0.0.1:*", keys=folder),
        FramePublisher(context, "tcp://127.0.0.1:*"),
    ]
    with taking(keys=str(folder)) as first, taking(keys=str(folder)) as second:
        for net in (first, second):
            with FrameSender(net.endpoint, keys=folder / "for-one") as sender:
                assert sender.send(numbered(0), timeout_s=5)
            wait_until(lambda net=net: len(net.frames) == 1)
    assert sum(thread.name == "doorman" for thread in threading.enumerate()) == 3
    for publisher in publishers:
        publisher.close()
    assert not any(thread.name == "doorman" for thread in threading.enumerate())


def test_clients_may_be_added_and_shut_out_while_it_runs(folder: Path) -> None:
    with taking(keys=str(folder)) as net:
        late = make_client_keys(folder, "late")
        with FrameSender(net.endpoint, keys=late) as sender:
            assert sender.send(numbered(0), timeout_s=5)
        wait_until(lambda: len(net.frames) == 1)
        (folder / "clients" / "late.public").unlink()
        with FrameSender(net.endpoint, keys=late) as sender:
            assert not sender.send(numbered(1), timeout_s=0.1)
            wait_until(lambda: net.counter("refused_handshake") >= 1)
        assert len(net.frames) == 1


def test_a_damaged_client_key_lets_nobody_new_in(folder: Path) -> None:
    (folder / "clients" / "broken.public").write_text("public = 5")
    with (
        taking(keys=str(folder)) as net,
        FrameSender(net.endpoint, keys=folder / "for-one") as sender,
    ):
        wait_until(lambda: net.counter("refused_handshake") >= 1)
        assert not sender.send(numbered(0), timeout_s=0.05)


def test_keys_do_not_believe_hostile_messages_either(folder: Path) -> None:
    with (
        taking(keys=str(folder)) as net,
        Stranger(net.endpoint, keys=folder / "for-one") as stranger,
    ):
        stranger.say(b"\x9f\x00\xff")
        wait_until(lambda: net.counter("refused_version") == 1)


# Who could reach it


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://0.0.0.0:5570",
        "tcp://*:5570",
        "tcp://192.0.2.7:5570",
        "tcp://[::]:5570",
        "tcp://[2001:db8::1]:*",
        "tcp://eth0:5570",
        "tcp://no-such-host.invalid:5570",
        "tcp://0:5570",
    ],
)
def test_what_others_can_reach_needs_keys(endpoint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        safe_endpoint(endpoint, None, key="share.host", keys_key="share.keys")
    assert f"share.host = {endpoint!r}" in refused.value.message
    assert "share.keys is not set" in refused.value.message
    assert "livedenoise keys" in refused.value.hint
    assert safe_endpoint(endpoint, Path("keys")) == endpoint


@pytest.mark.parametrize(
    ("endpoint", "bound"),
    [
        ("tcp://127.0.0.1:5570", "tcp://127.0.0.1:5570"),
        ("tcp://127.0.0.9:*", "tcp://127.0.0.9:*"),
        ("tcp://[::1]:5570", "tcp://[::1]:5570"),
        ("ipc:///somewhere", "ipc:///somewhere"),
    ],
)
def test_loopback_needs_none(endpoint: str, bound: str) -> None:
    assert safe_endpoint(endpoint, None) == bound


def test_a_name_is_judged_by_every_address_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["127.0.0.1", "192.0.2.7"]

    def answers(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 0)) for address in addresses]

    monkeypatch.setattr(exposure.socket, "getaddrinfo", answers)
    with pytest.raises(ConfigError, match=r"192\.0\.2\.7"):
        safe_endpoint("tcp://rig:5570", None)
    addresses.pop()
    # Bound by the address that was judged, whatever the name means later.
    assert safe_endpoint("tcp://rig:5570", None) == "tcp://127.0.0.1:5570"


@pytest.mark.parametrize(
    "endpoint", ["tcp://", "udp://127.0.0.1:1", "tcp://127.0.0.1;0.0.0.0:5570", "127.0.0.1:5570"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError):
        safe_endpoint(endpoint, None)


def test_an_exposed_camera_is_refused_before_it_listens() -> None:
    camera = NetworkCamera(network_config(listen="tcp://0.0.0.0:*"))
    with pytest.raises(ConfigError, match=r"camera net: listen = 'tcp://0\.0\.0\.0:\*'"):
        camera.open()
    camera.close()


def test_an_exposed_publisher_is_refused(context: Context) -> None:
    with pytest.raises(ConfigError, match=r"share\.keys is not set"):
        FramePublisher(context, "tcp://0.0.0.0:*")


def test_with_keys_it_may_listen_everywhere(folder: Path) -> None:
    with taking(listen="tcp://0.0.0.0:*", keys=str(folder)) as net:
        port = net.endpoint.rsplit(":", 1)[1]
        with FrameSender(f"tcp://127.0.0.1:{port}", keys=folder / "for-one") as sender:
            assert sender.send(numbered(0), timeout_s=5)
            wait_until(lambda: len(net.frames) == 1)


# Files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_private_and_pairs_belong_together(folder: Path) -> None:
    secrets = sorted(folder.rglob("*.secret"))
    assert len(secrets) == 3
    if os.name == "posix":
        assert {mode_of(path) for path in secrets} == {0o600}
        assert {mode_of(folder), mode_of(folder / "for-one")} == {0o700}
    server, client = server_keys(folder), client_keys(folder / "for-one")
    assert client.server == server.public
    assert zmq.curve_public(client.own.secret) == client.own.public
    authorised = (folder / "clients" / "one.public").read_text()
    assert client.own.public.decode() in authorised
    assert client.own.secret.decode() not in authorised
    assert server.secret.decode() not in repr(server)


def test_nothing_is_overwritten(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not make_server_keys(folder)
    with pytest.raises(ConfigError, match="is there already"):
        make_client_keys(folder, "one")
    (folder / "server.secret").rename(folder / "away")
    with pytest.raises(ConfigError, match="nothing was overwritten"):
        make_server_keys(folder)
    (folder / "away").rename(folder / "server.secret")
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 41, "a b", "-x"])
def test_names_that_are_paths_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="--client"):
        make_client_keys(folder, name)


@pytest.mark.parametrize("text", ["", "public = ", "public = 5", 'public = "short"', "\xff"])
def test_damaged_key_files_are_named(folder: Path, text: str) -> None:
    path = folder / "for-one" / "server.public"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"server\.public"):
        client_keys(folder / "for-one")


def test_a_secret_of_another_pair_is_refused(folder: Path) -> None:
    path = folder / "server.secret"
    text = path.read_text().replace(server_keys(folder).public.decode(), "0" * 40)
    path.write_text(text)
    with pytest.raises(ConfigError, match="does not belong"):
        server_keys(folder)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
def test_a_secret_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / "server.secret").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600") as refused:
        server_keys(folder)
    assert "mode 644" in refused.value.message


# The verb


def run_verb(*arguments: str) -> int:
    import argparse

    from livedenoise.verbs import keys

    parser = argparse.ArgumentParser()
    keys.register(parser.add_subparsers())
    parsed = parser.parse_args(["keys", *arguments])
    assert parsed.verb is keys_verb
    code: int = parsed.verb(parsed)
    return code


def test_the_verb_makes_keys_and_says_what_goes_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rig"
    assert run_verb(str(folder), "--client", "scope", "--client", "laptop") == 0
    text = capsys.readouterr().out
    for needed in (f'keys = "{folder}"', "for-scope", "for-laptop", "never give away"):
        assert needed in text
    assert server_keys(folder).secret.decode() not in text
    assert client_keys(folder / "for-laptop").own.secret.decode() not in text


def test_the_verb_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb(str(tmp_path / "rig"), "--client", "a", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["made"] is True
    assert answer["clients"] == [str(tmp_path / "rig" / "for-a")]


def test_the_command_line_knows_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keys", str(tmp_path / "rig")]) == 0
    assert "--client NAME" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("name", [".", "clients"])
def test_a_folder_where_others_could_add_a_client_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o777)
    with pytest.raises(ConfigError, match="other users can write into it"):
        server_keys(folder)
    (folder / name).chmod(0o700)
    server_keys(folder)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_an_open_door_raises_the_limit_of_open_files(context: Context, folder: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    try:
        FramePublisher(context, "tcp://127.0.0.1:*", keys=folder).close()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
