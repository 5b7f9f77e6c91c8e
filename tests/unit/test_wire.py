"""The wire: every message survives the round trip; of anything else only a WireError comes out."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import make_header

from livedenoise.bus import wire
from livedenoise.core.errors import WireError
from livedenoise.core.frame import FrameHeader

VERSION = bytes([wire.PROTOCOL_VERSION])
KINDS = get_args(wire.AnyMessage)

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FACTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=8,
    ),
    max_size=4,
)
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS,
    bool: st.booleans(),
    str: st.text(max_size=20),
    dict[str, Any]: FACTS,
}


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Return messages of a kind with any values its field types allow."""
    hints = get_type_hints(kind)
    fields = {
        name: structs(hint) if hint is FrameHeader else FIELDS[hint]
        for name, hint in hints.items()
        if name in kind.__struct_fields__
    }
    return st.builds(kind, **fields)


MESSAGES = st.one_of([structs(kind) for kind in KINDS])


def test_every_message_can_be_decoded() -> None:
    assert set(KINDS) == set(wire.Message.__subclasses__())


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_survives_the_round_trip(kind: type[wire.Message]) -> None:
    @settings(max_examples=15, deadline=None)
    @given(structs(kind))
    def check(message: wire.Message) -> None:
        data = wire.encode(message)
        assert data[0] == wire.PROTOCOL_VERSION
        found = wire.decode(data)
        assert type(found) is kind
        assert found == message

    check()


@given(MESSAGES, st.integers(0, 255))
@settings(max_examples=50, deadline=None)
def test_another_protocol_version_is_refused(message: wire.Message, version: int) -> None:
    data = bytes([version]) + wire.encode(message)[1:]
    if version == wire.PROTOCOL_VERSION:
        assert wire.decode(data) == message
        return
    with pytest.raises(WireError, match=f"protocol version {version}, this program speaks 1"):
        wire.decode(data)


@given(MESSAGES, st.data())
@settings(max_examples=60, deadline=None)
def test_a_truncated_message_is_refused(message: wire.Message, data: st.DataObject) -> None:
    whole = wire.encode(message)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WireError):
        wire.decode(whole[:length])


@given(MESSAGES, st.binary(min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_bytes_after_a_message_are_refused(message: wire.Message, more: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(wire.encode(message) + more)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_random_bytes_give_a_message_or_a_wire_error(data: bytes, versioned: bool) -> None:
    _decodes_or_refuses(VERSION + data if versioned else data)


@given(MESSAGES, st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_messages_give_a_message_or_a_wire_error(
    message: wire.Message, data: st.DataObject
) -> None:
    damaged = bytearray(wire.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    _decodes_or_refuses(bytes(damaged))


def _decodes_or_refuses(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except WireError:
        return
    assert isinstance(message, KINDS)


BEAT = b"\x94\xa4Beat\x01\x02"
LIES = {
    "nothing": b"",
    "version only": VERSION,
    "not an array": VERSION + b"\xc0",
    "empty array": VERSION + b"\x90",
    "unknown tag": VERSION + msgspec.msgpack.encode(["Pickle", 1]),
    "tag of another type": VERSION + msgspec.msgpack.encode([7, 1]),
    "missing fields": VERSION + msgspec.msgpack.encode(["Gap", 1]),
    "text for a number": VERSION + msgspec.msgpack.encode(["Gap", "1", 2, "x"]),
    "fraction for a number": VERSION + msgspec.msgpack.encode(["Gap", 1.5, 2, "x"]),
    "nil for text": VERSION + msgspec.msgpack.encode(["Gap", 1, 2, None]),
    "header too short": VERSION + msgspec.msgpack.encode(["Published", ["run"]]),
    "header is a map": VERSION + msgspec.msgpack.encode(["Published", {"seq": 1}]),
    "array claims 4 billion items": VERSION + BEAT + b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "map claims 4 billion items": VERSION + BEAT + b"\xdf\xff\xff\xff\xff",
    "text claims 4 GB": VERSION + BEAT + b"\x81\xdb\xff\xff\xff\xff",
    "binary claims 4 GB": VERSION + BEAT + b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "text that is not UTF-8": VERSION + BEAT + b"\x81\xa1a\xa1\xff",
    "tag that is not UTF-8": VERSION + b"\x94\xa4Be\xfft\x01\x02\x80",
    "key that cannot be one": VERSION + BEAT + b"\x81\xa1a\x81\x80\x01",
    "time out of range": VERSION + BEAT + b"\x81\xa1a\xd7\xff" + b"\xff" * 8,
    "very deep": VERSION + BEAT + b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0",
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.",
    "integer beyond 64 bits as text": VERSION + msgspec.msgpack.encode(["Gap", "9" * 40, 2, "x"]),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused(lie: str) -> None:
    with pytest.raises(WireError):
        wire.decode(LIES[lie])


def test_oversize_is_refused_on_both_sides() -> None:
    too_much = {"text": "x" * wire.MAX_MESSAGE_BYTES}
    with pytest.raises(WireError, match=r"Finished of 10\d{5} bytes, at most 1048576 allowed"):
        wire.encode(wire.Finished(metrics={}, facts=too_much))
    with pytest.raises(WireError, match="message of 1048577 bytes, 1 to 1048576 allowed"):
        wire.decode(b"\x01" * (wire.MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize("n_parts", [0, 1, 3])
def test_another_number_of_parts_is_refused(n_parts: int) -> None:
    part = wire.encode(wire.Start())
    with pytest.raises(WireError, match=f"{n_parts} parts, 2 expected"):
        wire.decode_last([part] * n_parts, 2)
    assert wire.decode_last([b"identity", part], 2) == wire.Start()


def test_another_message_than_expected_is_refused() -> None:
    assert wire.expect(wire.Start(), wire.Start) == wire.Start()
    with pytest.raises(WireError, match="Ready expected, got Start"):
        wire.expect(wire.Start(), wire.Ready)


def _encoded(tag: str, *fields: object) -> bytes:
    return VERSION + msgspec.msgpack.encode([tag, *fields])


def test_a_header_of_a_newer_version_with_one_more_field_decodes() -> None:
    header = make_header(seq=5, event=3, role="low", flags=6)
    newer = [*msgspec.to_builtins(header), {"a field": "of the future"}]
    assert wire.decode(_encoded("Published", newer)) == wire.Published(header=header)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_header_of_an_older_version_takes_the_defaults(missing: int) -> None:
    header = make_header(seq=5)
    older = msgspec.to_builtins(header)[:-missing]
    found = wire.expect(wire.decode(_encoded("Published", older)), wire.Published).header
    assert found == header
    assert (found.event, found.role, found.flags) == (-1, "", 0)


def test_a_header_without_a_required_field_is_refused() -> None:
    older = msgspec.to_builtins(make_header(seq=5))[:-4]
    with pytest.raises(WireError, match="at least length 26, got 25"):
        wire.decode(_encoded("Published", older))


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_of_a_newer_version_with_one_more_field_decodes(
    kind: type[wire.Message],
) -> None:
    @settings(max_examples=5, deadline=None)
    @given(structs(kind))
    def check(message: wire.Message) -> None:
        fields = msgspec.msgpack.decode(wire.encode(message)[1:])
        newer = VERSION + msgspec.msgpack.encode([*fields, [1, "future"]])
        assert wire.decode(newer) == message

    check()
