"""Who could reach an endpoint: beyond loopback a socket is bound only with CURVE keys.

Knows: addresses and name resolution. Must not know: sockets, keys' contents.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path

from livedenoise.core.errors import ConfigError

_TCP = re.compile(r"tcp://(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^\s:;]+)):(?P<port>[0-9]{1,5}|\*)")
_HINT = "livedenoise keys DIR, and {keys_key} = 'DIR'; or listen on 127.0.0.1 only"


def safe_endpoint(
    endpoint: str, keys: Path | None, *, key: str = "endpoint", keys_key: str = "keys"
) -> str:
    """Return the endpoint to bind, or refuse it: without keys every address must be loopback.

    A host name is replaced by the loopback address it means, so that a later answer of the name
    service cannot open the socket to others. ``key`` and ``keys_key`` are what messages name.

    Raises
    ------
    ConfigError
        If it is not an endpoint, its name means nothing, or it could be reached from other
        machines and ``keys`` is None.
    """
    if endpoint.startswith(("ipc://", "inproc://")):
        return endpoint
    found = _TCP.fullmatch(endpoint)
    if found is None:
        raise ConfigError(f"{key} = {endpoint!r} is not tcp://ADDRESS:PORT", f"mend {key}")
    if keys is not None:
        return endpoint
    host = found["v6"] or found["host"]
    addresses = _addresses(host)
    exposed = [address for address in addresses if not address.is_loopback]
    if exposed or not addresses:
        reached = ", ".join(map(str, exposed)) or "no address this machine knows"
        raise ConfigError(
            f"{key} = {endpoint!r} ({reached}) can be reached from other machines and "
            f"{keys_key} is not set",
            _HINT.format(keys_key=keys_key),
        )
    # The first one of IPv4 where there is one: that is what ZeroMQ would take.
    first = min(addresses, key=lambda address: address.version)
    shown = f"[{first}]" if first.version == 6 else str(first)
    return f"tcp://{shown}:{found['port']}"


def uses_ipv6(endpoint: str) -> bool:
    """Return whether the address is written as IPv6."""
    return endpoint.startswith("tcp://[")


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    if host == "*":
        return [ipaddress.IPv4Address("0.0.0.0")]  # noqa: S104  (named to be refused)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
