"""Turns made of blocks become the daemon's messages."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.anthropic import turns
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.pictures.given import Picture


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def taken(*messages: dict[str, Any], **fields: Any) -> list[Any]:
    given = Fields({"messages": list(messages), **fields})
    found = turns.take(given)
    given.end()
    return found


def test_texts_and_blocks_of_them_are_messages() -> None:
    kept = text("Be brief.", cache_control={"type": "ephemeral"}, citations=None)
    two = [text("a"), text("b")]
    assert taken({"role": "user", "content": two}, system=[kept]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": two},
    ]
    assert taken({"role": "system", "content": "Be brief."}, {"role": "user", "content": [text("a")]}) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a"},
    ]


def test_what_is_said_of_billing_is_no_word_for_the_model() -> None:
    billed = text("x-anthropic-billing-header: cc_version=2.1.197.1c0; cc_entrypoint=cli;")
    told = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    assert taken({"role": "user", "content": "a"}, system=[billed, text("Be brief.")]) == told
    assert taken({"role": "user", "content": "a"}, system=[billed]) == told[1:]
    assert taken({"role": "user", "content": [billed]}) == [{"role": "user", "content": billed["text"]}]


def test_pictures_are_in_base64_or_at_an_address() -> None:
    inside = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAEC"}}
    outside = {"type": "image", "source": {"type": "url", "url": "http://a/"}, "cache_control": {"type": "ephemeral"}}
    (said,) = taken({"role": "user", "content": [inside, outside]})
    where = "messages[0].content[{}].source.{}"
    pictures = [Picture(where.format(0, "data"), b"\0\1\2"), Picture(where.format(1, "url"), address="http://a/")]
    assert said["content"] == [{"type": "image", "image": picture} for picture in pictures]
    (alone,) = taken({"role": "user", "content": [inside]})
    assert alone["content"] == said["content"][:1]


def test_a_function_may_return_a_picture() -> None:
    inside = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAEC"}}
    result = {"type": "tool_result", "tool_use_id": "1", "is_error": True, "content": [text("a"), inside]}
    (said,) = taken({"role": "user", "content": [result]})
    picture = Picture("messages[0].content[0].content[1].source.data", b"\0\1\2")
    assert said["content"] == [text("Error: "), text("a"), {"type": "image", "image": picture}]


def test_a_message_is_known_by_its_turn() -> None:
    given = Fields({"system": "a", "messages": [{"role": "user", "content": word} for word in "ab"]})
    turns.take(given)
    assert [given.names.field(f"messages[{index}].content") for index in (0, 1)] == ["system", "messages[1]"]


def test_turns_of_users_that_follow_each_other_are_one() -> None:
    said = taken(*({"role": "user", "content": word} for word in "abc"))
    assert [part["text"] for part in said[0]["content"]] == ["a", "\n\n", "b", "\n\n", "c"]
    assert len(said) == 1


def test_a_great_many_of_them_are_joined_in_one_go() -> None:
    """Else this takes half an hour, in which nobody else is served."""
    many = [("where", {"role": "user", "content": [text("a")]}) for _ in range(200_000)]
    [(_, said)] = turns._joined(many)
    assert len(said["content"]) == 2 * len(many) - 1


def test_calls_thoughts_and_results_are_what_the_daemon_has() -> None:
    asked = [
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        text("I look."),
        {"type": "tool_use", "id": "1", "name": "f", "input": {"a": None}, "cache_control": {}},
        {"type": "tool_use", "id": "2", "name": "g", "input": {}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "1", "content": "21"},
        {"type": "tool_result", "tool_use_id": "2", "content": [text("no file")], "is_error": True},
        text("And?"),
    ]
    assert taken({"role": "assistant", "content": asked}, {"role": "user", "content": results}) == [
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning": "Hm.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": None}}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "21", "tool_call_id": "1"},
        {"role": "tool", "content": [text("Error: "), text("no file")], "tool_call_id": "2"},
        {"role": "user", "content": "And?"},
    ]
    assert taken({"role": "user", "content": []}) == [{"role": "user", "content": ""}]


def test_what_other_servers_have_put_into_answers_is_passed_over() -> None:
    answer = [{"type": "redacted_thinking", "data": "x"}, text("Snow.", citations=[{"type": "char_location"}])]
    assert taken({"role": "assistant", "content": answer}) == [{"role": "assistant", "content": "Snow."}]


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ({"role": "tool", "content": "a"}, "role"),
        ({"role": "user", "content": 1}, "content"),
        ({"role": "user", "content": [{"type": "image", "source": {}}]}, "content[0].source.data"),
        ({"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        ({"role": "user", "content": [text("a", citations=[{}])]}, "content[0].citations"),
        ({"role": "user", "content": [{"type": "tool_result"}]}, "content[0].tool_use_id"),
        ({"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]}, "content[0].id"),
        ({"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f"}]}, "content[0].input"),
        ({"role": "system", "content": [{"type": "thinking"}]}, "content[0].type"),
        ({"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}, "content[0].source.type"),
        ({"role": "user", "content": "a", "nme": "b"}, "nme"),
    ],
)
def test_a_wrong_field_is_named(message: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        taken(message)
    assert refused.value.name == f"messages[0].{name}"
