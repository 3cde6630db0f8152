"""What a line will be is known before it is parsed: never too little, and not much too much."""

from __future__ import annotations

import json
import random
import tracemalloc

import orjson
import pytest

from rkllmd.errors import FrameTooLarge, ParseError, RpcError
from rkllmd.json_types import Json
from rkllmd.wire import weight
from rkllmd.wire.long_bytes import GrowingBytes
from rkllmd.wire.weight import MAX_DEPTH, id_of, is_too_deep, weigh

MOST = 1 << 16


def array(element: bytes, count: int) -> bytes:
    return b"[" + b",".join([element] * count) + b"]"


def nested(depth: int, length: int = 0) -> bytes:
    return b"[" * depth + b" " * length + b"]" * depth


FULL_OF_VALUES = {
    "arrays": b"[]",
    "arrays in arrays": b"[[[[]]]]",
    "objects": b"{}",
    "objects with a member": b'{"a":0}',
    "numbers": b"0.5",
    "short strings": b'"ab"',
    "strings that are wide": '"é中"'.encode(),
    "emoji": '"😀"'.encode(),
    "escapes": b'"\\ud83d\\ude00"',
    "large integers": b"18446744073709551615",
}


@pytest.mark.parametrize("name", FULL_OF_VALUES)
def test_values_take_no_more_than_was_weighed(name: str) -> None:
    line = array(FULL_OF_VALUES[name], 20_000)
    weighed = weigh(line, 1 << 20)
    tracemalloc.start()
    value = orjson.loads(line)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(value) == 20_000
    assert kept <= weighed.kept <= weighed.parsing
    assert weighed.kept <= 40 * kept, "numbers up to 256 exist already, nothing else is weighed this much too heavy"


def test_one_wide_character_makes_the_whole_string_wide() -> None:
    for line in (b'"' + b"a" * 100_000 + "😀".encode() + b'"', b'"' + b"a" * 100_000 + b'\\ud83d\\ude00"'):
        tracemalloc.start()
        value = orjson.loads(line)
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(value) == 100_001
        assert kept <= weigh(line, MOST).kept


def test_too_many_values_are_refused_with_the_limit() -> None:
    assert weigh(array(b"0", MOST - 1), MOST)
    for line, limit in (
        (array(b"0", MOST + 1), MOST),
        (array(b"[]", MOST // 4), MOST // 4),
        (b"{" + b",".join([b'"a":0'] * (MOST // 32 + 1)) + b"}", MOST // 32),
    ):
        with pytest.raises(FrameTooLarge, match="max_values_per_request") as refused:
            weigh(line, MOST)
        assert refused.value.data["limit"] == limit


@pytest.mark.parametrize("shift", range(4))
def test_a_text_full_of_punctuation_is_one_value(shift: int) -> None:
    """Wherever the pieces end: inside an escape, between a backslash and its quote."""
    text = " " * shift + '[{"a": 1}, "\\", \\\\"]: , \\' * 20_000
    line = json.dumps({"prompt": text, "number": [1, 2, 3]}).encode()
    assert len(line) > 4 * weight._PIECE
    counts = weight._exactly(line)
    assert (counts.arrays, counts.objects, counts.members, counts.commas, counts.depth) == (1, 1, 2, 3, 2)
    assert weigh(line, 1024)


def depth_of(value: Json) -> int:
    if isinstance(value, (list, dict)):
        return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)
    return 0


def test_counts_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with what the parser makes of it, in pieces of a few bytes."""
    monkeypatch.setattr(weight, "_PIECE", 7)
    random.seed(1)

    def value(left: int) -> Json:
        kind = random.randrange(5 if left else 3)
        if kind == 3:
            return [value(left - 1) for _ in range(random.randrange(4))]
        if kind == 4:
            return {text(): value(left - 1) for _ in range(random.randrange(4))}
        return text() if kind else random.random()

    def text() -> str:
        return "".join(random.choices('a"\\[]{},:', k=random.randrange(9)))

    for _ in range(300):
        whole = value(6)
        line = orjson.dumps(whole)
        counts = weight._exactly(line)
        assert counts.depth == depth_of(whole)
        assert counts.arrays + counts.objects <= counts.values <= line.count(b",") + line.count(b":") + len(line)
        parsed: list[str] = []
        orjson.loads(line)
        json.loads(line, object_hook=lambda found, parsed=parsed: parsed.append("{"))  # type: ignore[misc]
        assert counts.objects == len(parsed)


@pytest.mark.parametrize("length", [0, 1 << 17])
def test_nesting_is_bounded_before_it_is_parsed(length: int) -> None:
    assert weigh(nested(MAX_DEPTH, length), MOST)
    with pytest.raises(ParseError) as refused:
        weigh(nested(MAX_DEPTH + 1, length), MOST)
    assert refused.value.data["limit"] == MAX_DEPTH
    with pytest.raises(ParseError):
        weigh(b"[" * 10**6, MOST)
    assert weigh(array(b"[]", MAX_DEPTH * 2), MOST), "many are not deep"


def test_a_short_line_is_only_looked_at_for_its_depth() -> None:
    assert not is_too_deep(nested(MAX_DEPTH))
    assert is_too_deep(nested(MAX_DEPTH + 1))
    assert not is_too_deep(array(b"[]", 300))
    assert not is_too_deep(json.dumps("[" * 300).encode())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"m","params":[[]]}', 7),
        (b' { "method" : "m", "id" : "a-b", "params":[1,', "a-b"),
        (b'{"jsonrpc":"2.0","method":"m","params":{"id":1,"x":{"id":2}},"id":9}', 9),
        (b'{"params":{"id":1},"id":-3,"method":"m","jsonrpc":"2.0"} ', -3),
        (b'{"jsonrpc":"2.0","method":"m","params":{"id":1}}', None),
        (b'{"params":{"id":1},"method":"m"}', None),
        (b'[{"jsonrpc":"2.0","id":7,"method":"m"}]', None),
        (b'{"id":01}', None),
        (b'{"id":"' + b"x" * 129 + b'"}', None),
        (b'{"id":1.5}', None),
        (b'{"id":"\xff"}', None),
        (b'{"method":"\\"","id":1,', None),
        (b"{" + b'"a":1,' * 9 + b'"id":1,', None),
        (b"", None),
    ],
)
def test_the_id_of_what_is_not_parsed(line: bytes, found: Json) -> None:
    assert id_of(line) == found


def test_a_mapping_is_weighed_as_bytes_are() -> None:
    growing = GrowingBytes()
    line = array(b'{"a":[1,2,3]}', 10_000)
    growing.add(line)
    mapped = growing.take()
    assert not isinstance(mapped, bytes)
    assert weigh(mapped, 1 << 20) == weigh(line, 1 << 20)
    with pytest.raises(RpcError):
        weigh(mapped, MOST)
