"""The environment of processes that copy frames."""

from __future__ import annotations

import subprocess
import sys

import pytest

from livedenoise.bus.copying import STREAMING_BYTES, copying_environment

SETTING = f"glibc.cpu.x86_non_temporal_threshold={STREAMING_BYTES}"


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.usefixtures("linux")
def test_the_threshold_is_added_and_the_rest_kept() -> None:
    environment = {"PATH": "/bin"}
    assert copying_environment(environment) == {"PATH": "/bin", "GLIBC_TUNABLES": SETTING}
    assert environment == {"PATH": "/bin"}


@pytest.mark.usefixtures("linux")
def test_other_tunables_are_kept() -> None:
    found = copying_environment({"GLIBC_TUNABLES": "glibc.malloc.check=1"})
    assert found["GLIBC_TUNABLES"] == f"glibc.malloc.check=1:{SETTING}"


@pytest.mark.usefixtures("linux")
def test_what_the_user_chose_wins() -> None:
    chosen = {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=1"}
    assert copying_environment(chosen) == chosen


@pytest.mark.usefixtures("linux")
def test_twice_is_once() -> None:
    once = copying_environment({})
    assert copying_environment(once) == once


@pytest.mark.parametrize(("system", "machine"), [("win32", "AMD64"), ("linux", "aarch64")])
def test_elsewhere_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert copying_environment({"A": "b"}) == {"A": "b"}


def test_a_process_starts_in_it_without_a_word() -> None:
    """The C library prints a warning for a tunable it does not understand."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", "print(1)"],
        env=copying_environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
