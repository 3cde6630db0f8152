"""Long base64 strings: taken out of a line, put in their places, and nothing else about the line is different."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rkllmd.wire import jsonrpc, long_strings
from rkllmd.wire.jsonrpc import Rejected, Request
from rkllmd.wire.long_bytes import LongBytes, allocate
from rkllmd.wire.long_strings import LONG, LongString, LongText, decode, dumps, encode, loads, plain

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# So short that a line of a hundred characters may hold several long strings.
SHORT = {"LONG": 16, "_STRIDE": 8, "_BYTES_AT_ONCE": 6, "_CHARACTERS_AT_ONCE": 8}


@contextlib.contextmanager
def short() -> Iterator[None]:
    """Let strings of 16 characters be long, and be handled in pieces of 8."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SHORT.items():
            patch.setattr(long_strings, name, value)
        yield


def found_in(value: Any) -> list[LongString]:
    """Return the LongStrings in a parsed value, in their order."""
    if isinstance(value, LongString):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [string for child in children for string in found_in(child)]


def read(line: bytes) -> Any:
    """Return what orjson gives, or the error's words and place."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return error.msg, error.pos


def read_here(line: LongBytes) -> Any:
    """Return the same from ``loads``."""
    try:
        return plain(loads(line))
    except orjson.JSONDecodeError as error:
        return error.msg, error.pos


def mapped(data: bytes) -> LongBytes:
    """Return the bytes as a long line has them."""
    mapping = allocate(len(data))
    mapping[:] = data
    return mapping


base64_strings = st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode())
strings = st.one_of(
    base64_strings,
    st.text(ALPHABET, max_size=60),
    st.text(ALPHABET + "=", max_size=40),
    st.text(ALPHABET, min_size=8, max_size=40).map(lambda text: text + "=="),
    # Escaped quotes and backslashes at either end of what could be a long string.
    st.tuples(
        st.sampled_from(['"', "\\", '\\"', '"\\', ""]), base64_strings, st.sampled_from(['"', "\\", "é", ":", ""])
    ).map("".join),
    st.text(max_size=20),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=8,
)
spaces = st.sampled_from(["", " ", "  ", "\t", "\n", "\r\n", " " * 40])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Return a value as JSON, with whitespace wherever it may stand and characters written as they are or escaped."""
    separators = (draw(spaces) + "," + draw(spaces), draw(spaces) + ":" + draw(spaces))
    text = json.dumps(draw(values), separators=separators, ensure_ascii=draw(st.booleans()))
    return (draw(spaces) + text + draw(spaces)).encode()


@settings(deadline=None, max_examples=300)
@example(b'{"' + b"A" * 32 + b'" : "' + b"A" * 32 + b'"}')
@example(b'{"' + b"A" * 32 + b'"\t\n :"' + b"B" * 32 + b'"}')
@example(b'"\\"' + b"A" * 32 + b'"')
@example(b'"' + b"A" * 32 + b'\\""')
@example(b'["\\\\","' + b"A" * 32 + b'"]')
@example(b'["' + b"A" * 30 + b'B=","' + b"A" * 30 + b'A="]')
@given(line=lines())
@short()
def test_a_line_means_what_it_always_meant(line: bytes) -> None:
    assert read_here(line) == read(line)
    assert read_here(mapped(line)) == read(line)


@settings(deadline=None, max_examples=300)
@given(
    line=lines(),
    cuts=st.lists(st.integers(0, 300), max_size=2),
    inserted=st.sampled_from([b"", b'"', b"}", b"\\", b"="]),
)
@short()
def test_a_broken_line_is_refused_as_it_always_was(line: bytes, cuts: list[int], inserted: bytes) -> None:
    """With the same words and the same place, which the client's error has."""
    start, end = [*sorted(cuts), len(line), len(line)][:2]
    broken = line[:start] + inserted + line[end:]
    assert read_here(broken) == read(broken)


@settings(deadline=None)
@given(data=st.lists(st.binary(min_size=12, max_size=60), min_size=1, max_size=4), space=spaces)
@short()
def test_every_long_base64_string_is_taken_out(data: list[bytes], space: str) -> None:
    texts = [base64.b64encode(item).decode() for item in data]
    line = json.dumps({"a": texts, "b": {"c": texts[0]}}, separators=(f"{space},{space}", f"{space}:{space}")).encode()
    found = loads(line)
    assert [bytes(string.data) for string in found_in(found)] == [*data, data[0]]
    assert [str(string) for string in found["a"]] == texts
    assert [len(string) for string in found["a"]] == list(map(len, texts))


@settings(deadline=None)
@given(data=st.binary(max_size=100))
@short()
def test_base64_in_pieces_is_base64(data: bytes) -> None:
    whole = base64.b64encode(data)
    assert b"".join(encode(data)) == whole
    assert bytes(decode(whole)) == data
    assert bytes(decode(memoryview(whole))) == data


@settings(deadline=None)
@given(text=st.text(ALPHABET + "=\n -_", max_size=40))
@short()
def test_what_is_no_base64_is_refused(text: str) -> None:
    data = text.encode()
    try:
        expected = base64.b64decode(data, validate=True)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011  # binascii.Error, or ours
            decode(data)
        return
    try:
        assert bytes(decode(data)) == expected
    except ValueError:
        # b64decode goes on after padding and counts no characters: binascii's strict mode does not.
        assert "=" in text


texts = st.lists(st.text(ALPHABET, max_size=12).map(str.encode), max_size=5).map(LongText)
answers = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=8) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def joined(value: Any) -> Any:
    """Return an answer with its long texts in one piece."""
    match value:
        case LongText():
            return b"".join(value.pieces).decode()
        case list():
            return [joined(item) for item in value]
        case dict():
            return {name: joined(item) for name, item in value.items()}
    return value


@settings(deadline=None)
@given(answers)
def test_the_pieces_of_an_answer_are_its_line(value: Any) -> None:
    line = dumps(value)
    expected = orjson.dumps(joined(value), option=orjson.OPT_APPEND_NEWLINE)
    assert (b"".join(line) if isinstance(line, list) else line) == expected


def test_a_long_text_is_not_copied_into_its_line() -> None:
    piece = b"A" * LONG
    line = dumps({"a": LongText([piece, piece]), "b": 1})
    assert isinstance(line, list)
    assert [item for item in line if item is piece] == [piece, piece]


@pytest.mark.parametrize("value", [{1, 2}, object(), {"a": LongString(bytearray(3))}])
def test_what_is_no_json_can_not_be_written(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps([LongText([b"A"]), value])


# -- in the real sizes


def test_what_a_client_has_sent_can_be_written_as_it_was() -> None:
    line = b'{"a":["' + base64.b64encode(bytes(range(256)) * 400) + b'",1,"x"]}'
    value = loads(line)
    assert isinstance(value["a"][0], LongString)
    pieces = dumps(value, as_sent=True)
    assert not isinstance(pieces, bytes)
    assert b"".join(pieces) == line + b"\n"
    assert isinstance(value["a"][0], LongString), "and it stays what it is"


def test_megabytes() -> None:
    data = os.urandom(3 << 20)
    text = base64.b64encode(data).decode()
    line = json.dumps({"params": {"data": text, "more": [text, "short"]}, text: "key"}).encode()
    found = loads(line)
    assert [bytes(string.data) == data for string in found_in(found)] == [True, True]
    assert found[text] == "key"
    assert plain(found) == json.loads(line)


@pytest.mark.parametrize("length", [LONG - 4, LONG, LONG + 4, 3 * LONG])
@pytest.mark.parametrize("offset", [0, 1, LONG // 2 - 1, LONG // 2, LONG // 2 + 1, LONG])
def test_wherever_a_long_string_begins(length: int, offset: int) -> None:
    line = b" " * offset + json.dumps(["A" * length, "x", "A" * length]).encode()
    found = loads(line)
    assert [isinstance(item, LongString) for item in found] == [length >= LONG, False, length >= LONG]
    assert plain(found) == ["A" * length, "x", "A" * length]


@pytest.mark.parametrize(
    "text", ["A" * (LONG + 1), "A" * (LONG - 1) + "=", "A" * LONG + "-_-_", "é" + "A" * LONG, "A" * (LONG - 1) + "B="]
)
def test_long_strings_that_stay_as_they_are(text: str) -> None:
    found = loads(json.dumps([text, "A" * LONG], ensure_ascii=False).encode())
    assert found[0] == text or str(found[0]) == text
    assert isinstance(found[1], LongString)
    for spelled in ("A" * LONG + "AB==", "A" * LONG + "AAB="):
        assert loads(json.dumps([spelled]).encode()) == [spelled], "the same bytes have another spelling"


@pytest.mark.parametrize("spaces", [0, 1, 64, 65, 66, LONG])
def test_a_long_key_is_a_key_whatever_stands_behind_it(spaces: int) -> None:
    """As a string it would become a mark, and a key is not replaced: its object would have another member."""
    text = "A" * LONG
    assert loads(f'{{"{text}"{" " * spaces}: 1}}'.encode()) == {text: 1}
    (value,) = loads(f'["{text}"{" " * spaces}]'.encode())
    assert str(value) == text
    assert isinstance(value, LongString) == (spaces <= 64), "no more than 64 characters are looked at"


def test_what_a_client_sends_is_not_taken_for_a_mark() -> None:
    names = [f"{long_strings._MARK[:-1]}", "0", f"{long_strings._MARK[1:]}0"]
    assert plain(loads(json.dumps([*names, "A" * LONG]).encode())) == [*names, "A" * LONG]


def test_deep_nesting_around_a_long_string() -> None:
    value = loads(b"[" * 1000 + b'"' + b"A" * LONG + b'"' + b"]" * 1000)
    for _ in range(1000):
        (value,) = value
    assert str(value) == "A" * LONG


def test_only_params_have_long_strings() -> None:
    """Nothing else in a request may be base64, so nobody who reads it is prepared."""
    text = "A" * LONG
    members = {"jsonrpc": "2.0", "id": 1, "method": text, "stream": text, "other": {"a": [text]}, "params": [text]}
    line = json.dumps(members).encode()
    for message in (jsonrpc.parse(line), jsonrpc.parse(b"[" + line + b"]")):
        request = message[0] if isinstance(message, list) else message
        assert isinstance(request, Request)
        assert (request.method, request.members) == (text, {"stream": text, "other": {"a": [text]}})
        (param,) = request.params
        assert isinstance(param, LongString)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"id": "A" * LONG}, "An id has at most 128 characters."),
        ({"jsonrpc": "A" * LONG}, 'The member "jsonrpc" must be "2.0".'),
        ({"params": "A" * LONG}, 'The member "params" must be an array or an object.'),
    ],
)
def test_a_long_string_where_there_may_be_none(members: dict[str, Any], words: str) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "x", **members}
    for line in (json.dumps(request).encode(), json.dumps([request]).encode()):
        message = jsonrpc.parse(line)
        rejected = message[0] if isinstance(message, list) else message
        assert isinstance(rejected, Rejected)
        assert rejected.error.data["detail"] == words
    for line in (b'"%s"' % (b"A" * LONG), b'["%s"]' % (b"A" * LONG)):
        message = jsonrpc.parse(line)
        rejected = message[0] if isinstance(message, list) else message
        assert isinstance(rejected, Rejected)
        assert rejected.error.data["detail"] == "A Request is a JSON object."


def test_the_place_of_a_mistake_is_that_in_the_clients_line() -> None:
    text = "A" * LONG
    for line in (
        f'["{text}", x, "{text}"]',
        f'["é", "{text}", "{text}" x]',
        f'[x, "{text}"]',
        f'"{text}"x',
        f'["{text}"',
    ):
        assert read_here(line.encode()) == read(line.encode())
