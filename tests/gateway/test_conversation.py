"""rkllmd/gateway/conversation.py: what the dialects read alike; what is wrong is named by its path."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from rkllmd.gateway import conversation
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.json_types import Json, JsonObject


def _call(fields: Fields) -> JsonObject:
    return {"function": conversation.function(fields, ("index",))}


def test_messages_calls_and_functions_are_taken() -> None:
    function: JsonObject = {"name": "f", "arguments": "{}", "index": 0}
    given: JsonObject = {"role": "assistant", "tool_calls": [{"function": function}]}

    def read(message: JsonObject, where: str) -> JsonObject:
        fields = Fields(message, where)
        return {"role": conversation.role(fields, ("assistant",)), **conversation.calls(fields, _call)}

    expected = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    assert conversation.messages(Fields({"messages": [given]}), read) == [expected]
    assert conversation.calls(Fields({"tool_calls": []}), _call) == {}


@pytest.mark.parametrize("choice", [None, "auto", "none", "required"])
def test_a_choice_is_told_where_it_changes_something(choice: Json) -> None:
    told: list[Json] = [{"type": "function"}]
    chosen = {} if choice in (None, "auto") else {"tool_choice": choice}
    assert conversation.tools(Fields({}), told, choice) == {"tools": told, **chosen}
    if choice != "required":
        assert conversation.tools(Fields({}), [], choice) == {}


class Compared(str):
    """A name that counts how often one is compared."""

    __slots__ = ()
    times: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


def test_many_functions_are_allowed_without_comparing_each_to_all() -> None:
    """Else a request with as many as it can have would stop the gateway for minutes."""
    told: list[JsonObject] = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(100)]
    given = Fields({"mode": "auto", "tools": [{"name": Compared(f"f{number}")} for number in range(100)]})
    Compared.times = 0
    assert conversation.allowed(Fields({}), told, given, lambda tool: tool.needed("name")) == (told, "auto")
    assert Compared.times < 1000


@pytest.mark.parametrize(
    ("take", "given", "path"),
    [
        (lambda fields: conversation.messages(fields, lambda *_: {}), {}, "m.messages"),
        (lambda fields: conversation.messages(fields, lambda *_: {}), {"messages": []}, "m.messages"),
        (lambda fields: conversation.role(fields, ("user",)), {}, "m.role"),
        (lambda fields: conversation.role(fields, ("user",)), {"role": "tool"}, "m.role"),
        (conversation.functions, {"tools": [{}]}, "m.tools[0]"),
        (conversation.functions, {"tools": [{"type": "other", "function": {"name": "f"}}]}, "m.tools[0]"),
        (conversation.functions, {"tools": [{"type": "function", "function": {}}]}, "m.tools[0].function.name"),
        (lambda fields: conversation.tools(fields, [], "required"), {}, "m.tool_choice"),
        (lambda fields: conversation.calls(fields, _call), {"tool_calls": [{}]}, "m.tool_calls[0].function.name"),
        (
            lambda fields: conversation.calls(fields, _call),
            {"tool_calls": [{"function": {"name": "f", "more": 1}}]},
            "m.tool_calls[0].function.more",
        ),
    ],
)
def test_what_is_wrong_is_named(take: Callable[[Fields], object], given: Json, path: str) -> None:
    with pytest.raises(WrongField) as caught:
        take(Fields(given, "m"))
    assert caught.value.name == path
