"""Messages as clients give them: what is refused, and by what they are compared."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.abi.json import schemas
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.language.chats import messages
from rkllmd.language.chats.messages import MESSAGES, Message, answer, question, read
from rkllmd.wire.long_strings import LongString

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1, "a": "x"}'}}


def test_text_comes_alone_or_in_parts() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    said = read([{"role": "system", "content": None}, {"role": "user", "content": parts}])
    assert [message.text for message in said] == ["", "one two"]
    assert said[1].digest == question("one two").digest


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([{"role": "user", "content": "a\0b"}], "$.messages[0].content"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "$.messages[1].role"),
        ([{"role": "user", "content": [{"type": "text"}]}], "$.messages[0].content[0].text"),
    ],
)
def test_what_can_not_be_answered_is_refused(given: Any, path: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        read(given)
    assert refused.value.data["path"] == path


@pytest.mark.parametrize(
    "given",
    [
        [],
        [{"content": "a"}],
        [{"role": "robot", "content": "a"}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": [{"type": "image", "image": "x"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
        [{"role": "assistant", "tool_calls": [{"name": "f"}]}],
        [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 7}}]}],
    ],
)
def test_the_schema_refuses_the_rest(given: Any) -> None:
    with pytest.raises(InvalidParams):
        schemas.check(MESSAGES.schema, given, "$.messages")


@pytest.mark.parametrize(
    "again",
    [
        {"role": "assistant", "content": "Hello.", "tool_calls": [CALL]},
        {"role": "assistant", "content": " Hello.\n", "tool_calls": [{**CALL, "id": "other"}]},
        {"role": "assistant", "content": "Hello.", "reasoning": "hm", "tool_calls": [CALL]},
        {
            "role": "assistant",
            "content": "Hello.",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": "x", "b": 1}}}],
        },
    ],
)
def test_an_answer_that_comes_back_is_the_same_however_a_client_writes_it(again: Any) -> None:
    said = read([again, {"role": "user", "content": ""}])[0]
    assert said.digest == answer("Hello.", calls=[CALL]).digest


def test_what_differs_for_the_model_is_another_message() -> None:
    told = [
        question("a"),
        question(" a"),
        question("a", special=True),
        Message("system", "a"),
        Message("tool", "a"),
        answer("a"),
        answer("a", calls=[CALL]),
        answer("a", calls=[{"function": {"name": "f", "arguments": "no JSON"}}]),
        answer("a", calls=[{"function": {"name": "g"}}]),
    ]
    assert len({message.digest for message in told}) == len(told)
    named = [{"name": "Ann"}, {"name": "Bob"}, {"mood": "sad"}, {"tool_call_id": "1"}, {"tool_call_id": "2"}]
    digests = [read([{"role": "user", "content": "a", **more}])[0].digest for more in named]
    assert len(set(digests)) == 4, "a template may show a name, and members that only it knows"
    assert digests[3] == digests[4] == question("a").digest, "an id says nothing"
    back: JsonObject = {"role": "assistant", "content": "a", "refusal": None, "annotations": []}
    assert read([back, {"role": "user", "content": "b"}])[0].digest == answer("a").digest, "as clients send it back"


def test_results_come_in_the_order_of_their_calls() -> None:
    calls = [{**CALL, "id": name} for name in ("a", "b", "c")]
    asked: JsonObject = {"role": "assistant", "tool_calls": calls}

    def told(*names: str | None) -> list[str]:
        results: list[JsonObject] = [{"role": "tool", "content": str(name), "tool_call_id": name} for name in names]
        return [message.text for message in read([asked, *results, {"role": "user", "content": "?"}])[1:-1]]

    assert told("c", "a", "b") == ["a", "b", "c"]
    assert told("b", "a") == ["a", "b"]
    assert told("c", "other", "a") == ["c", "other", "a"], "which call the other one is of is not known"
    assert told("b", None) == ["b", "None"]
    assert [message.text for message in read([{"role": "tool", "content": "x", "tool_call_id": "a"}])] == ["x"]
    again: list[JsonObject] = [asked, {"role": "tool", "content": "b", "tool_call_id": "b"}, {"role": "user"}] * 2
    assert [message.role for message in read(again)] == ["assistant", "tool", "user"] * 2


def test_control_markers_count_in_no_answer() -> None:
    said = read([{"role": "assistant", "content": "<E>"}, {"role": "user", "content": "<E>"}], special=True)
    assert [message.special for message in said] == [False, True]


@pytest.mark.parametrize("deep", ["[" * 100_000, "[" * 500 + "]" * 500])
def test_deeply_nested_arguments_are_plain_text(deep: str) -> None:
    assert answer("", calls=[{"function": {"name": "f", "arguments": deep}}]).calls == [("f", deep)]
    assert messages.TOOLS.name == "tools"


def test_media_are_compared_by_what_is_in_them_unless_that_may_change() -> None:
    def picture(embeddings: Any) -> Message:
        part = {"type": "image", "image": {"image_embed": embeddings}}
        return read([{"role": "user", "content": [part, {"type": "text", "text": "?"}]}])[0]

    same = picture([1.0, 2.0])
    assert same.digest == picture([1.0, 2.0]).digest
    assert len({same.digest, picture([1.0]).digest, picture({"mem": 1}).digest, picture({"mem": 1}).digest}) == 4
    assert same.given["content"] == [{"type": "image"}, {"type": "text", "text": "?"}], "templates get no tensors"


def test_long_texts_are_texts_wherever_they_stand() -> None:
    def long() -> LongString:
        return LongString(bytearray(b"abc" * 30_000))

    text = str(long())
    calls = [{"function": {"name": "f", "arguments": long()}}, {"function": {"name": "f", "arguments": {"a": long()}}}]
    said = read([{"role": "assistant", "content": long(), "tool_calls": calls}, {"role": "user", "content": ""}])[0]
    assert said.text == said.given["content"] == text
    assert said.calls == [("f", text), ("f", f'{{"a":"{text}"}}')]
