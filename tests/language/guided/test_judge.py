"""What the judge finds legal, byte by byte, against jsonschema, for schemas made at random."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from rkllmd.errors import InvalidParams
from rkllmd.language.guided.grammar import Grammar
from rkllmd.language.guided.judge import Judge, allowed
from rkllmd.language.guided.schema.schemas import rewrite
from tests.language.guided.schema_maker import SchemaMaker, form_of, is_valid

# 500 with `make fuzz`.
SCHEMAS = int(os.environ.get("RKLLMD_SCHEMAS", "60"))
LAMP = {
    "type": "object",
    "properties": {"name": {"enum": ["kitchen", "bath"]}, "n": {"type": "integer", "minimum": 10, "maximum": 100}},
    "required": ["name", "n"],
    "additionalProperties": False,
}


def judge(schema: Any) -> Judge:
    return Judge(Grammar(rewrite(schema)))


def random_beginning(found: Judge, chance: random.Random) -> bytes:
    """Walk through what is legal, with a liking for what ends something."""
    text = bytearray()
    for _ in range(chance.randint(0, 120)):
        choice = allowed(found._matcher)
        if not choice:
            break
        liked = [byte for byte in choice if byte in b'"}],:ab01']
        byte = chance.choice(liked if liked and chance.random() < 0.7 else choice)
        assert found.accept(bytes([byte])) == 1
        text.append(byte)
    return bytes(text)


@pytest.mark.parametrize("seeds", [range(start, SCHEMAS, 4) for start in range(4)], ids=str)
def test_each_legal_beginning_has_an_end_that_fits_the_schema(seeds: range) -> None:
    judged = 0
    for seed in seeds:
        schema = SchemaMaker(seed).make()
        try:
            grammar = form_of(schema).grammar()
        except InvalidParams:
            continue
        found = Judge(grammar)
        text = random_beginning(found, random.Random(seed))
        end = found.shortest_end()
        assert end is not None, (seed, text)
        assert found.accept(end) == len(end)
        assert found.may_end
        assert is_valid((text + end).decode(), schema), (seed, text + end)
        judged += 1
    assert judged > len(seeds) / 2, "most schemas can be guaranteed"


def test_it_goes_as_far_as_a_text_is_legal_and_no_further() -> None:
    found = judge(LAMP)
    assert found.accept(b'{"name": "kit"') == 13
    assert (found.may_end, found.is_complete, found.error) == (False, False, None)
    assert found.accept(b'chen", "n": 100} and more') == 16
    assert (found.may_end, found.is_complete) == (True, True)


@pytest.mark.parametrize(
    ("before", "forced"),
    [
        (b"", b'{"name": "'),
        (b'{"name":"k', b'itchen", "n":'),
        (b'{"name" : "bath"', b', "n":'),
        (b'{"name":"bath","n":100', b"}"),
    ],
)
def test_what_must_follow_is_known(before: bytes, forced: bytes) -> None:
    found = judge(LAMP)
    assert found.accept(before) == len(before)
    assert found.forced() == forced
    assert found.accept(b"") == 0


def test_a_space_in_a_string_is_a_choice() -> None:
    found = judge({"enum": ["a b", "ac"]})
    assert found.forced() == b'"a'


@pytest.mark.parametrize(
    "data", [b'"\xff', b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\\u0041"', b'"\x01"', b"01", b" 1", b"NaN"]
)
def test_what_is_no_json_that_everybody_reads_is_illegal(data: bytes) -> None:
    assert judge({}).accept(data) < len(data)


def test_spaces_come_to_an_end() -> None:
    found = judge({"type": "array"})
    assert found.accept(b"[" + b" " * 1000) < 30
