"""Messages on their way to a template."""

from __future__ import annotations

import pytest

from rkllmd.chat.templates.messages import check_roles, plain_data, values_in, with_placeholders, with_reasoning
from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject


def test_a_conversation_has_messages_with_roles_that_are_known() -> None:
    check_roles([{"role": role} for role in ("system", "user", "assistant", "tool")])
    with pytest.raises(InvalidParams, match="at least one"):
        check_roles([])
    with pytest.raises(InvalidParams, match=r"messages\[1\].role") as error:
        check_roles([{"role": "user"}, {"role": "<|im_end|>"}])
    assert error.value.data["path"] == "$.messages[1].role"


def test_words_stand_for_media() -> None:
    parts: list[Json] = [{"type": "video", "video": {}}, {"type": "text", "text": "a"}, {"type": "new"}, "x"]
    messages: list[JsonObject] = [{"role": "user", "content": parts}, {"role": "user", "content": "b"}]
    shown = with_placeholders(messages, {"video": "<video>"})
    assert shown[0]["content"] == [{"type": "text", "text": "<video>"}, *parts[1:]]
    assert shown[1] == messages[1]
    assert with_placeholders(messages, None) == messages


def test_thoughts_have_the_names_that_templates_look_for() -> None:
    assert with_reasoning({"reasoning": "a"}) == {"thinking": "a", "reasoning": "a", "reasoning_content": "a"}
    assert with_reasoning({"content": "a"}) == {"content": "a"}


def test_data_is_of_plain_types_and_not_too_deep() -> None:
    class Text(str):
        __slots__ = ()

    plain = plain_data({"a": (Text("b"), 1.5, True, None)})
    assert plain == {"a": ["b", 1.5, True, None]}
    assert type(plain["a"][0]) is str
    deep: Json = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidParams, match="nested"):
        plain_data(deep)


def test_values_and_characters_are_counted() -> None:
    assert values_in({"ab": ["c", 1, {}]}) == (6, 3)
