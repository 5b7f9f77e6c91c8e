"""Frames on the wire: what comes back is what was sent; anything else is refused with a reason."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_kit import make_header

from livedenoise.bus import frames_wire as spoken
from livedenoise.bus.frames_wire import Limits, RefusedError, SentFrame
from livedenoise.core.frame import frame_nbytes

LIMITS = Limits(height=48, width=64, dtype="<u2")
SESSION = "0" * 32
REASONS = {"size", "version", "malformed", "unexpected", "parts", "dtype", "too_large", "length"}


def facts(**changes: Any) -> SentFrame:
    values: dict[str, Any] = {
        "session": SESSION,
        "number": 0,
        "camera_seq": 0,
        "height": 4,
        "width": 6,
        "dtype": "<u2",
    }
    return SentFrame(**(values | changes))


@given(
    height=st.integers(1, 48),
    width=st.integers(1, 64),
    camera_seq=st.integers(0, 2**61),
    role=st.text(max_size=64),
    event=st.integers(-1, 2**31 - 1),
)
@settings(deadline=None)
def test_a_frame_comes_back_as_it_was_sent(height: int, width: int, **rest: Any) -> None:
    sent = facts(height=height, width=width, **rest)
    pixels = np.arange(height * width, dtype=np.uint16).reshape(height, width)
    found, view = spoken.frame_in([spoken.encode(sent), pixels.tobytes()], LIMITS)
    assert found == sent
    np.testing.assert_array_equal(view, pixels)
    assert not view.flags.writeable


PART = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(lambda data: b"\x01" + data),
    st.tuples(st.integers(0, 60), st.binary(max_size=4)).map(
        lambda cut: spoken.encode(facts())[: cut[0]] + cut[1]
    ),
    st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.floats(),
        lambda inner: st.lists(inner, max_size=6),
        max_leaves=12,
    ).map(lambda data: b"\x01" + msgspec.msgpack.encode(data)),
)


@given(st.lists(PART, max_size=4))
@settings(max_examples=400, deadline=None)
def test_random_parts_are_a_frame_or_refused_with_a_reason(parts: list[bytes]) -> None:
    reason = ""
    try:
        found, pixels = spoken.frame_in(parts, LIMITS)
    except RefusedError as error:
        reason = error.reason
    if reason:
        assert reason in REASONS
    else:
        assert pixels.shape == (found.height, found.width)
        assert pixels.nbytes == len(parts[1])


NUMBER = st.integers(-(2**63), 2**63 - 1)


@given(
    height=NUMBER | st.integers(-2, 70),
    width=NUMBER | st.integers(-2, 70),
    dtype=st.sampled_from(["<u2", "|u1", "<f4", ">u2", "<f8", "|O", "<U9999999", "V1", "", "x"]),
    length=st.integers(0, 8192),
    extra=st.integers(0, 2),
)
@settings(max_examples=400, deadline=None)
def test_lies_about_sizes_and_types_are_never_believed(
    height: int, width: int, dtype: str, length: int, extra: int
) -> None:
    raw = msgspec.msgpack.encode(["SentFrame", SESSION, 0, 0, height, width, dtype])
    parts = [b"\x01" + raw, bytes(length), *[b""] * extra]
    honest = (
        1 <= height <= 48
        and 1 <= width <= 64
        and dtype == "<u2"
        and length == 2 * height * width
        and not extra
    )
    if honest:
        assert spoken.frame_in(parts, LIMITS)[1].shape == (height, width)
        return
    with pytest.raises(RefusedError) as refused:
        spoken.frame_in(parts, LIMITS)
    assert refused.value.reason in REASONS


LIES: dict[str, tuple[list[bytes], str]] = {
    "no parts": ([], "parts"),
    "facts alone": ([spoken.encode(facts())], "parts"),
    "a part too many": ([spoken.encode(facts()), bytes(48), b""], "parts"),
    "pixels too short": ([spoken.encode(facts()), bytes(47)], "length"),
    "pixels too long": ([spoken.encode(facts()), bytes(49)], "length"),
    "4 GB claimed": ([spoken.encode(facts(height=16384, width=16384)), bytes(48)], "too_large"),
    "one row too many": ([spoken.encode(facts(height=49, width=1)), bytes(98)], "too_large"),
    "another type": ([spoken.encode(facts(dtype="|u1")), bytes(24)], "dtype"),
    "objects": ([spoken.encode(facts(dtype="|O")), bytes(192)], "dtype"),
    "negative height": ([spoken.encode(facts(height=-4, width=-6)), bytes(48)], "malformed"),
    "no height": ([spoken.encode(facts(height=0)), b""], "malformed"),
    "number beyond 62 bits": ([spoken.encode(facts(camera_seq=2**62)), bytes(48)], "malformed"),
    "negative number": ([spoken.encode(facts(camera_seq=-1)), bytes(48)], "malformed"),
    "session of another form": ([spoken.encode(facts(session="x")), bytes(48)], "malformed"),
    "a very long role": ([spoken.encode(facts(role="x" * 65)), bytes(48)], "malformed"),
    "older version": ([b"\x00" + spoken.encode(facts())[1:], bytes(48)], "version"),
    "newer version": ([b"\x02" + spoken.encode(facts())[1:], bytes(48)], "version"),
    "nothing": ([b"", bytes(48)], "size"),
    "facts of 1 MB": ([b"\x01" * (1 << 20), bytes(48)], "size"),
    "another message": ([spoken.encode(spoken.Ping()), bytes(48)], "unexpected"),
    "a pickle": ([b"\x80\x04\x95\x0b\x00\x00\x00", bytes(48)], "version"),
}


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_has_its_reason(lie: str) -> None:
    parts, reason = LIES[lie]
    with pytest.raises(RefusedError) as refused:
        spoken.frame_in(parts, LIMITS)
    assert refused.value.reason == reason


def test_facts_of_a_newer_version_with_one_more_field_are_read() -> None:
    newer = [*msgspec.msgpack.decode(spoken.encode(facts())[1:]), {"a": "field"}]
    data = b"\x01" + msgspec.msgpack.encode(newer)
    assert spoken.frame_in([data, bytes(48)], LIMITS)[0] == facts()


@given(shape=st.tuples(NUMBER, NUMBER), dtype=st.text(max_size=4), length=st.integers(0, 64))
@settings(deadline=None)
def test_pixels_of_a_header_nobody_checked_are_refused(
    shape: tuple[int, int], dtype: str, length: int
) -> None:
    with pytest.raises(RefusedError):
        spoken.pixels_in(bytes(length), (shape[0], -abs(shape[1])), dtype)
    with pytest.raises(RefusedError):
        spoken.pixels_in(bytes(length), (4096, 4096), "<u2")


def test_topics_of_cameras_that_begin_alike_differ() -> None:
    assert not spoken.topic("clean", "sim2").startswith(spoken.topic("clean", "sim"))
    assert spoken.topic("clean", "sim").startswith(spoken.topic("clean", ""))
    assert not spoken.topic("cleaner", "sim").startswith(spoken.topic("clean", ""))


@given(st.binary(max_size=300))
def test_random_bytes_are_no_snapshot(data: bytes) -> None:
    with pytest.raises(RefusedError):
        spoken.decode_snapshot(data)


def test_a_shared_header_comes_back() -> None:
    header = make_header(7)
    data = spoken.encode(spoken.SharedFrame(number=3, header=header))
    assert spoken.decode(data) == spoken.SharedFrame(number=3, header=header)
    assert frame_nbytes(header.shape, header.dtype) == header.nbytes
