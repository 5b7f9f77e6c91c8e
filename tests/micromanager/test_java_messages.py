"""Messages of the bridge as data: which overload is meant, what an answer holds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from livedenoise.core.errors import CameraError
from livedenoise.micromanager.java_messages import (
    ForeignAnswerError,
    Handle,
    Message,
    java_message,
    read_answer,
    run_method,
    value_of,
)


def overloads(*types: tuple[str, ...]) -> Handle:
    methods: list[Message] = [{"name": "f", "arguments": list(each)} for each in types]
    return Handle("h1", "a.B", ("a.B", "a.Face"), {"f": methods})


@pytest.mark.parametrize(
    ("types", "args", "chosen"),
    [
        ((("float",), ("java.lang.String",), ("int",)), ("1",), ["java.lang.String"]),
        ((("float",), ("double",), ("long",), ("int",)), (1,), ["int"]),
        ((("float",), ("double",), ("int",)), (1.0,), ["double"]),
        ((("int",), ("boolean",)), (True,), ["boolean"]),
        ((("double",), ("float",)), (3,), ["double"]),
        ((("double",), ("java.lang.String",)), (np.float64(2.5),), ["double"]),
        ((("int", "int"), ("int",)), (1,), ["int"]),
        ((("java.lang.Object",), ("short[]",)), (np.zeros(4, "<u2"),), ["short[]"]),
        ((("java.lang.Object",), ("a.Face",)), (overloads(),), ["a.Face"]),
        ((("java.lang.Long", "a"), ("long", "double")), (1, 2), ["long", "double"]),
    ],
)  # fmt: skip
def test_the_overload_that_fits_best_is_meant(
    types: tuple[tuple[str, ...], ...], args: tuple[object, ...], chosen: list[str]
) -> None:
    for order in (types, types[::-1]):
        assert run_method(overloads(*order), "f", args)["argument-types"] == chosen


@pytest.mark.parametrize("arg", ["text", None, 1.5, np.zeros(3, "<f4"), overloads()])
def test_no_overload_is_better_than_a_wrong_one(arg: object) -> None:
    with pytest.raises(CameraError, match=r"has no a\.B\.f"):
        run_method(overloads(("int",), ("int", "int"), ("boolean",)), "f", (arg,))


def test_arguments_are_sent_as_java_reads_them() -> None:
    handle = overloads(("double", "java.lang.Object", "a.Face", "boolean"))
    message = run_method(handle, "f", (2, np.array([1, 256], "<u2"), handle, True))
    assert message["arguments"] == [2.0, b"\x01\x00\x00\x01", {"hash-code": "h1"}, True]
    assert isinstance(message["arguments"][0], float)
    assert message["argument-deserialization-types"] == ["double", "short[]", "a.Face", "boolean"]
    assert message["argument-types"][1] == "java.lang.Object"
    assert (message["hash-code"], message["name"], message["static"]) == ("h1", "f", False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("java.lang.Exception: Lens cap is on\nmmcorej.CMMCore.f(CMMCore.java:12)\n",
         "Lens cap is on"),
        ("java.lang.Exception: One\nand two.\n\tat a.B.f(B.java:3)\nat x", "One and two."),
        (("java.lang.reflect.InvocationTargetException\n\tat a.B(Native Method)\n"
         "Caused by: java.lang.Exception: Real\n\tat c.D(D.java:1)\n\t... 7 more"), "Real"),
        ("java.lang.NullPointerException\n\tat a.B(Unknown Source)",
         "java.lang.NullPointerException"),
        ('Error in device "Cam (left)": busy (3)', 'Error in device "Cam (left)": busy (3)'),
        ("", "(no message)"),
    ],
)  # fmt: skip
def test_an_exception_is_told_without_class_and_stack(text: str, said: str) -> None:
    assert java_message(text) == said


def parts(answer: object, *arrays: tuple[int, bytes]) -> list[bytes]:
    pairs = [part for number, data in arrays for part in (number.to_bytes(4, "little"), data)]
    return [json.dumps(answer).encode("iso-8859-1"), *pairs]


@pytest.mark.parametrize(
    ("kind", "dtype"), [("byte-array", "|u1"), ("short-array", "<u2"), ("float-array", "<f4")]
)
def test_arrays_come_flat_in_their_own_parts(kind: str, dtype: str) -> None:
    sent = np.arange(6).astype(dtype)
    read = read_answer(parts({"type": kind, "value": "@fff0"}, (0xFFF0, sent.tobytes())), "f")
    value = value_of(read, "f")
    assert isinstance(value, np.ndarray)
    assert value.dtype.str == dtype
    assert value.tolist() == sent.tolist()


def test_an_array_with_the_highest_bit_in_its_number_is_found() -> None:
    read = read_answer(
        parts({"type": "byte-array", "value": "@fffffff4"}, (0xFFFFFFF4, b"ab")), "f"
    )
    assert read["value"] == b"ab"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"type": "none"}, None), ({"type": "null"}, None),
        ({"type": "primitive", "value": 3}, 3), ({"type": "string", "value": "mail@b"}, "mail@b"),
        ({"type": "object", "class": "JSONObject", "value": '{"a": 1}'}, {"a": 1}),
        ({"type": "list", "value": [{"type": "primitive", "value": 2}]}, [2]),
    ],
)  # fmt: skip
def test_plain_answers(answer: Message, value: object) -> None:
    assert value_of(read_answer(parts(answer), "f"), "f") == value


@pytest.mark.parametrize(
    "received",
    [[b""], [b"hello"], [b"3"], [b"{}"], [b"\xff\xfe"], [*parts({"type": "x"}), b"1234"],
     parts({"type": "byte-array", "value": "@12"}, (0x13, b"ab")),
     parts({"type": "byte-array", "value": "@zz"}, (0x13, b"ab"))],
)  # fmt: skip
def test_what_is_not_an_answer_is_refused(received: list[bytes]) -> None:
    with pytest.raises(ForeignAnswerError, match="to f"):
        read_answer(received, "f")


@pytest.mark.parametrize(
    "answer",
    [{"type": "byte-array", "value": "@12"}, {"type": "char-array", "value": "x"},
     {"type": "unserialized-object", "class": "a.B"}],
)  # fmt: skip
def test_a_value_this_version_does_not_know_is_refused(answer: Message) -> None:
    with pytest.raises(ForeignAnswerError, match="f returned"):
        value_of(read_answer(parts(answer), "f"), "f")
