"""OpenAI's client with custom tools, whose input is a text as it is, over the real gateway and the demo model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import openai
import pytest

HELLO: list[Any] = [{"role": "user", "content": "Which time is it?"}]
GRAMMAR = {"syntax": "regex", "definition": "[01][0-9]:[0-5][0-9]|never"}
CHAT_TOOL: Any = {"type": "custom", "custom": {"name": "clock", "format": {"type": "grammar", "grammar": GRAMMAR}}}
TOOL: Any = {"type": "custom", "name": "clock", "description": "Sets it.", "format": {"type": "grammar", **GRAMMAR}}


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as found:
        yield found


def fits(text: str) -> bool:
    return re.fullmatch(GRAMMAR["definition"], text) is not None


def test_a_chat_calls_one_and_goes_on_with_its_result(client: openai.OpenAI) -> None:
    chosen: Any = {"type": "custom", "custom": {"name": "clock"}}
    asked: Any = {"model": "demo", "messages": HELLO, "tools": [CHAT_TOOL], "tool_choice": chosen, "seed": 1}
    answer = client.chat.completions.create(**asked)
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "custom"
    assert (answer.choices[0].finish_reason, call.custom.name, fits(call.custom.input)) == ("tool_calls", "clock", True)
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, stream=True)]
    [[streamed]] = [delta.model_dump()["tool_calls"] for delta in deltas if delta.tool_calls]
    assert (streamed["index"], streamed["type"], streamed["custom"]) == (0, "custom", call.custom.model_dump())
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Done."}
    history = [*HELLO, answer.choices[0].message, result]
    further = client.chat.completions.create(model="demo", messages=history, tools=[CHAT_TOOL], tool_choice="none")
    assert further.choices[0].message.content


def test_a_response_calls_one_and_goes_on_with_its_result(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "input": HELLO, "tools": [TOOL], "tool_choice": {"type": "custom", "name": "clock"}}
    events = list(client.responses.create(**asked, stream=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    ladder = ["output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done"]
    assert kinds[2:] == [*ladder, "completed"]
    delta, done, last = events[3], events[4], events[-1]
    assert delta.type == "response.custom_tool_call_input.delta"
    assert done.type == "response.custom_tool_call_input.done"
    assert last.type == "response.completed"
    [call] = last.response.output
    assert call.type == "custom_tool_call"
    assert (delta.delta, done.input, done.item_id) == (call.input, call.input, call.id)
    assert (call.name, fits(call.input)) == ("clock", True)
    assert last.response.tools[0].type == "custom"
    result = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "Done."}
    history: Any = [*HELLO, call.to_dict(), result]
    asked |= {"input": history, "tool_choice": "none"}
    assert client.responses.create(**asked).output_text


def test_an_expression_that_no_answer_is_kept_to_is_named(client: openai.OpenAI) -> None:
    wrong: Any = {**TOOL, "format": {"type": "grammar", "syntax": "regex", "definition": "(?=a)b"}}
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="demo", input="Hello", tools=[wrong], tool_choice="required")
    assert refused.value.param == "tools[0].format.definition"
    assert refused.value.body is not None
    assert str(refused.value).count("tools[0].format.definition") > 0
