"""What frameworks for agents send (OpenAI Agents, Pydantic AI, Instructor, LangChain): tools beside a form.

The last answer of an agent has the form; those before it call functions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from tests.gateway.clients import weather

LAMP: dict[str, Any] = {
    "type": "object",
    "properties": {"state": {"enum": ["on", "off"]}},
    "required": ["state"],
    "additionalProperties": False,
}
FUNCTION = {"name": weather.NAME, "description": weather.DESCRIPTION}
SCHEMA = {"type": "json_schema", "name": "Lamp", "schema": LAMP, "strict": True}
IN_TEXT = {"text": {"format": SCHEMA}}


class Told(NamedTuple):
    """What an answer is: a text, or the name and the arguments of its call."""

    text: str | None
    call: tuple[str, Any] | None = None


class Way(NamedTuple):
    """A protocol: where it is asked, with which fields beside the question, and what its answer tells."""

    path: str
    fields: dict[str, Any]
    told: Callable[[Any], Told]


def of_chat(answer: Any) -> Told:
    message = answer["choices"][0]["message"]
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ())
    ]
    return Told(message["content"], calls[0] if calls else None)


def of_response(answer: Any) -> Told:
    [item] = answer["output"]
    if item["type"] == "function_call":
        return Told(None, (item["name"], json.loads(item["arguments"])))
    return Told(item["content"][0]["text"])


def of_ollama(answer: Any) -> Told:
    message = answer["message"]
    calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())]
    return Told(message["content"] or None, calls[0] if calls else None)


def of_anthropic(answer: Any) -> Told:
    [block] = answer["content"]
    return Told(block["text"]) if block["type"] == "text" else Told(None, (block["name"], block["input"]))


CHAT = Way(
    "/v1/chat/completions",
    {
        "tools": [weather.TOOL],
        "response_format": {"type": "json_schema", "json_schema": {"name": "Lamp", "schema": LAMP, "strict": True}},
    },
    of_chat,
)
RESPONSES = Way(
    "/v1/responses", {"tools": [{"type": "function", **FUNCTION, "parameters": weather.SCHEMA}], **IN_TEXT}, of_response
)
OLLAMA = Way("/api/chat", {"tools": [weather.TOOL], "format": LAMP, "stream": False}, of_ollama)
ANTHROPIC = Way(
    "/v1/messages",
    {
        "tools": [{**FUNCTION, "input_schema": weather.SCHEMA}],
        "output_config": {"format": {"type": "json_schema", "schema": LAMP}},
        "max_tokens": 100,
    },
    of_anthropic,
)
WAYS = [CHAT, RESPONSES, OLLAMA, ANTHROPIC]


def asked(address: str, way: Way, question: str, **more: Any) -> httpx.Response:
    said = "input" if way is RESPONSES else "messages"
    body = {"model": "demo", said: [{"role": "user", "content": question}], **way.fields, **more}
    return httpx.post(f"{address}{way.path}", json=body, timeout=120)


def ask(address: str, way: Way, question: str, **more: Any) -> Told:
    answer = asked(address, way, question, **more)
    assert answer.status_code == 200, answer.text
    return way.told(answer.json())


@pytest.mark.parametrize("way", WAYS, ids=[way.path for way in WAYS])
def test_a_function_is_called_or_the_answer_has_the_form(address: str, way: Way) -> None:
    assert ask(address, way, weather.QUESTION) == Told(None, (weather.NAME, weather.ARGUMENTS))
    told = ask(address, way, "Hello")
    assert told.call is None
    assert json.loads(told.text or "")["state"] in ("on", "off")


@pytest.mark.parametrize(
    ("way", "choice"),
    [
        (CHAT, "required"),
        (CHAT, {"type": "function", "function": {"name": weather.NAME}}),
        (RESPONSES, {"type": "function", "name": weather.NAME}),
    ],
)
def test_a_call_that_must_be_made_goes_before_the_form(address: str, way: Way, choice: Any) -> None:
    told = ask(address, way, "Hello", tool_choice=choice)
    assert told.call is not None
    assert (told.text, told.call[0]) == (None, weather.NAME)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (CHAT, "maximum context length is 1024 tokens"),
        (RESPONSES, "maximum context length is 1024 tokens"),
        (OLLAMA, "the input length exceeds the context length"),
        (ANTHROPIC, " tokens > 1024 maximum"),
    ],
)
def test_a_conversation_that_is_too_long_is_known_as_such(address: str, way: Way, words: str) -> None:
    answer = asked(address, way, "word " * 3000)
    assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert answer.headers["x-should-retry"] == "false"
