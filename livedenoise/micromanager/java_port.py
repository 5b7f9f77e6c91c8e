"""What can be behind Micro-Manager's port, and what is said to the user about it.

Knows: the port's states, which server versions understand each other, the mend for each. Must not
know: messages.
"""

from __future__ import annotations

import socket
from typing import Literal

import msgspec

from livedenoise.core.errors import CameraError

DEFAULT_PORT = 4827
EXPECTED_VERSION = "5.1.0"
"""Of Micro-Manager's ZMQ server. Within a major version messages stay as they are."""


class PortState(msgspec.Struct, frozen=True):
    """What a port is held by: ``version`` is that of Micro-Manager's server when it answers.

    ``closed``: nothing listens. ``silent``: something listens and never answers. ``other``:
    something that is not Micro-Manager's server.
    """

    state: Literal["closed", "silent", "other", "answers"]
    version: str = ""


class PortError(CameraError):
    """A port is not the one of a Micro-Manager that can be used; ``state`` says what it is."""

    def __init__(self, message: str, hint: str, state: PortState) -> None:
        super().__init__(message, hint)
        self.state = state


def listens(host: str, port: int, timeout_s: float) -> bool:
    """Return whether anything takes a connection. Says nothing to it."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def judge_version(version: str, where: str) -> tuple[str, ...]:
    """Return what is to be said about a server's version.

    Raises
    ------
    PortError
        If its messages are others than ours.
    """
    if version == EXPECTED_VERSION:
        return ()
    both = f"Micro-Manager's ZMQ server ({where}) has version {version}, ours is {EXPECTED_VERSION}"
    if _major(version) != _major(EXPECTED_VERSION):
        raise PortError(
            f"{both}: they do not understand each other",
            "install a Micro-Manager 2.0 nightly build whose server has version "
            f"{_major(EXPECTED_VERSION)}",
            PortState("answers", version),
        )
    return (f"{both}; if a call fails, use a nightly build with that version",)


def not_micro_manager(where: str, why: str) -> PortError:
    """Return the error for a port that another program has."""
    return PortError(
        f"what listens on {where} is not Micro-Manager: {why}",
        "end that program, or start Micro-Manager's server on another port and set camera.port",
        PortState("other"),
    )


def start_hint(port: int) -> str:
    """Return how Micro-Manager is made to listen."""
    return f"start Micro-Manager and tick Tools > Options > Run server on port {port}"


def again_hint(port: int) -> str:
    """Return what to do when Micro-Manager stopped answering."""
    return (
        "look at Micro-Manager's window: if it hangs or is gone, "
        f"{start_hint(port)}; if it was only slow, raise call_timeout_s in the camera section"
    )


def _major(version: str) -> str:
    return version.partition(".")[0]
