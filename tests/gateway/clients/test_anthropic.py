"""Anthropic's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.clients import weather

if TYPE_CHECKING:
    import anthropic

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
QUESTION: Any = {"role": "user", "content": weather.QUESTION}
TOOL: Any = {"name": weather.NAME, "description": weather.DESCRIPTION, "input_schema": weather.SCHEMA}


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[anthropic.Anthropic]:
    import anthropic

    with anthropic.Anthropic(base_url=address, api_key="none", max_retries=0) as found:
        yield found


def test_a_stream_and_a_whole_answer_say_the_same(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "demo", "max_tokens": 100, "extra_body": {"temperature": 0}}
    system: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    whole = client.messages.create(messages=HELLO, system=system, **asked)
    with client.messages.stream(messages=HELLO, system=system, **asked) as stream:
        text = "".join(stream.text_stream)
        streamed = stream.get_final_message()
    assert [block.type for block in whole.content] == ["text"]
    assert streamed.to_dict()["content"] == whole.to_dict()["content"]
    assert whole.to_dict()["content"][0]["text"] == text
    assert (whole.stop_reason, streamed.stop_reason) == ("end_turn", "end_turn")
    assert streamed.usage.output_tokens == whole.usage.output_tokens > 1
    told = whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)
    assert client.messages.count_tokens(model="demo", messages=HELLO, system=system).input_tokens == told


def test_the_model_thinks_where_it_is_asked_to(client: anthropic.Anthropic) -> None:
    asked: Any = [{"role": "user", "content": "What is the capital of Norway?"}]
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(model="demo", max_tokens=200, messages=asked, thinking=thinking) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert {"thinking", "signature", "text"} <= set(kinds)
    hidden: Any = {"type": "adaptive", "display": "omitted"}
    with client.messages.stream(model="demo", max_tokens=200, messages=asked, thinking=hidden) as stream:
        first, *rest = stream.get_final_message().content
    assert (first.to_dict(), rest) == ({"type": "thinking", "thinking": "", "signature": "rkllmd"}, message.content[1:])
    quiet = client.messages.create(model="demo", max_tokens=200, messages=asked, thinking={"type": "disabled"})
    assert [block.type for block in quiet.content] == ["text"]


def test_a_function_is_called_and_its_result_told(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "demo", "max_tokens": 100, "tools": [TOOL]}
    with client.messages.stream(messages=[QUESTION], **asked) as stream:
        message = stream.get_final_message()
    call: Any = message.content[-1]
    assert (message.stop_reason, call.type) == ("tool_use", "tool_use")
    assert (call.name, call.input) == (weather.NAME, weather.ARGUMENTS)
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": weather.RESULT}
    answer: Any = {"role": "assistant", "content": message.content}
    said: Any = client.messages.create(messages=[QUESTION, answer, {"role": "user", "content": [result]}], **asked)
    assert "21" in said.content[0].text
    assert said.usage.cache_read_input_tokens > 100


@pytest.mark.parametrize("streams", [False, True])
def test_its_loop_of_tools_finds_that_no_conversation_is_kept(client: anthropic.Anthropic, streams: bool) -> None:
    from anthropic import beta_tool

    asked = []

    def ask(city: str) -> str:
        asked.append(city)
        return weather.RESULT

    tool = beta_tool(ask, name=weather.NAME, description=weather.DESCRIPTION, input_schema=weather.SCHEMA)
    given: Any = {"model": "demo", "max_tokens": 100, "messages": [QUESTION], "tools": [tool], "stream": streams}
    last: Any = client.beta.messages.tool_runner(**given).until_done()
    assert (asked, "21" in last.content[0].text) == ([weather.ARGUMENTS["city"]], True)


def test_a_call_can_be_forced_and_an_answer_given_a_form(client: anthropic.Anthropic) -> None:
    forced = client.messages.create(
        model="demo",
        max_tokens=100,
        messages=[QUESTION],
        tools=[TOOL],
        tool_choice={"type": "tool", "name": TOOL["name"]},
    )
    assert [(block.type, forced.stop_reason) for block in forced.content] == [("tool_use", "tool_use")]
    form: Any = {"format": {"type": "json_schema", "schema": {"enum": ["yes", "no"]}}}
    said: Any = client.messages.create(model="demo", max_tokens=100, messages=HELLO, output_config=form)
    assert json.loads(said.content[0].text) in ("yes", "no")


def test_limits_end_an_answer(client: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": HELLO, "extra_body": {"temperature": 0}}
    short = client.messages.create(max_tokens=2, **asked)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)
    ended: Any = client.messages.create(max_tokens=100, stop_sequences=["!", "nothing"], **asked)
    assert (ended.stop_reason, ended.stop_sequence, "!" in ended.content[0].text) == ("stop_sequence", "!", False)


def test_it_is_told_what_is_wrong(client: anthropic.Anthropic) -> None:
    import anthropic

    with pytest.raises(anthropic.NotFoundError, match="There is no model other"):
        client.messages.create(model="other", max_tokens=1, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError, match="temperature must be at most 10") as refused:
        client.messages.create(model="demo", max_tokens=1, messages=HELLO, extra_body={"temperature": 11})
    assert refused.value.response.headers["x-should-retry"] == "false"
    picture: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\].content\[0\].source.data"):
        client.messages.create(model="demo", max_tokens=1, messages=[{"role": "user", "content": [picture]}])
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[1\]: the last message"):
        client.messages.create(model="demo", max_tokens=1, messages=[*HELLO, {"role": "assistant", "content": "A"}])


def test_it_lists_models(client: anthropic.Anthropic) -> None:
    assert [(item.id, item.type, item.display_name) for item in client.models.list()] == [("demo", "model", "demo")]


def test_what_is_not_served_is_refused_in_anthropics_shape(client: anthropic.Anthropic) -> None:
    import anthropic

    with pytest.raises(anthropic.APIStatusError, match="is not served here") as refused:
        client.get("/v1/messages", cast_to=object)
    assert refused.value.body["type"] == "error"  # type: ignore[index]  # it is any JSON
    with pytest.raises(anthropic.PermissionDeniedError, match="--allow-origin"):
        client.messages.create(
            model="demo", max_tokens=1, messages=HELLO, extra_headers={"origin": "https://evil.example"}
        )
