"""CURVE key files: who may connect, kept in folders that ``livedenoise keys`` makes.

A server's folder holds ``server.secret`` (0600), ``server.public``, ``clients/NAME.public`` (who
may connect) and, for each client, ``for-NAME/`` with ``client.secret`` (0600) and
``server.public``: the folder to carry to that client. Keys are Z85 text in TOML files.

Knows: files. Must not know: sockets. Nothing is ever overwritten.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import msgspec
import zmq

from livedenoise.core.errors import ConfigError

_HINT = "livedenoise keys DIR --client NAME"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,39}")
_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_MAX_FILE_BYTES = 4096


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """A CURVE key pair, Z85."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"KeyPair(public={self.public!r})"


class ClientKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What a client needs: its own pair and the server's public key."""

    own: KeyPair
    server: bytes


def make_server_keys(folder: Path) -> bool:
    """Make the server's keys unless they are there; return whether they were made.

    Raises
    ------
    ConfigError
        If the folder holds a damaged or half-made set, or cannot be written.
    """
    if (folder / "server.secret").exists():
        server_keys(folder)
        return False
    public, secret = zmq.curve_keypair()
    _make_folder(folder)
    _make_folder(folder / "clients")
    _write_new(folder / "server.secret", {"public": public, "secret": secret}, 0o600)
    _write_new(folder / "server.public", {"public": public}, 0o644)
    return True


def make_client_keys(folder: Path, name: str) -> Path:
    """Make a client's keys, let it in, and return the folder to carry to it.

    Raises
    ------
    ConfigError
        If the name is not one, or this client has keys already.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--client {name!r}: letters, digits, '.', '_' and '-' only, at most 40",
            "choose another name",
        )
    server = server_keys(folder)
    authorised, target = folder / "clients" / f"{name}.public", folder / f"for-{name}"
    for path in (authorised, target):
        if path.exists():
            raise ConfigError(f"{path} is there already", "remove it first, or take another name")
    public, secret = zmq.curve_keypair()
    _make_folder(target)
    _write_new(target / "client.secret", {"public": public, "secret": secret}, 0o600)
    _write_new(target / "server.public", {"public": server.public}, 0o644)
    # Last, so that nobody is let in whose keys could not be written.
    _make_folder(authorised.parent)
    _write_new(authorised, {"public": public}, 0o644)
    return target


def server_keys(folder: Path) -> KeyPair:
    """Return the server's keys.

    Raises
    ------
    ConfigError
        If they are missing, damaged, or readable by other users; if others could add a client.
    """
    for place in (folder, folder / "clients"):
        _require_ours(place)
    return _read_pair(folder / "server.secret")


def client_keys(folder: Path) -> ClientKeys:
    """Return a client's keys from its folder.

    Raises
    ------
    ConfigError
        If they are missing, damaged, or readable by other users.
    """
    own = _read_pair(folder / "client.secret")
    return ClientKeys(own=own, server=_read(folder / "server.public", "public"))


def is_authorised(folder: Path, public: bytes) -> bool:
    """Return whether the owner of ``public`` (Z85) may connect: asked anew for each connection.

    Raises
    ------
    ConfigError
        If one of the files in ``clients/`` is damaged: nobody new is let in until it is mended.
    """
    found = {_read(path, "public") for path in (folder / "clients").glob("*.public")}
    return public in found


def _require_ours(folder: Path) -> None:
    """Refuse a folder in which other users could put a client's key."""
    if os.name != "posix" or not folder.exists():
        return
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise ConfigError(
            f"{folder}: belongs to user {found.st_uid}, not to user {os.getuid()}",
            "whoever owns it decides who may connect: make keys of your own",
        )
    if found.st_mode & 0o022:
        raise ConfigError(
            f"{folder}: other users can write into it (mode {found.st_mode & 0o777:o})",
            f"chmod go-w {folder}",
        )


def _read_pair(path: Path) -> KeyPair:
    pair = KeyPair(public=_read(path, "public"), secret=_read(path, "secret"))
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(
            f"{path}: a secret key that other users can read (mode {mode:o}, 600 needed)",
            f"chmod 600 {path}",
        )
    if zmq.curve_public(pair.secret) != pair.public:
        raise ConfigError(f"{path}: the public key does not belong to the secret one", _HINT)
    return pair


def _read(path: Path, key: str) -> bytes:
    try:
        with path.open("rb") as file:
            value = tomllib.loads(file.read(_MAX_FILE_BYTES).decode()).get(key)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such key file", _HINT) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a key file: {error}", _HINT) from error
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise ConfigError(f"{path}:{key}: not a CURVE key (40 characters of Z85)", _HINT)
    return value.encode()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made: {error}", "choose another folder") from error


def _write_new(path: Path, values: dict[str, bytes], mode: int) -> None:
    text = "".join(f'{key} = "{value.decode()}"\n' for key, value in values.items())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; nothing was overwritten") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error}", "choose another folder") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
