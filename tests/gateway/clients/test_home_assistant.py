"""What Home Assistant's integrations ask, by the libraries that they ask with: as published, in our own words.

Its llama_cpp integration looks for models, then has an answer with one tool and three tokens at most, whole and as a
stream: if the stream fails, it never streams again. Its ollama integration gives the list of models five seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.gateway.clients import weather

if TYPE_CHECKING:
    import ollama
    import openai

QUESTION: Any = [{"role": "user", "content": weather.QUESTION}]
RESULT: Any = {"role": "tool", "content": weather.RESULT}


@pytest.fixture(scope="module")
def llama_cpp(address: str) -> Iterator[openai.OpenAI]:
    import openai

    with openai.OpenAI(base_url=f"{address}/v1", api_key="sk-no-key", timeout=60) as found:
        yield found


@pytest.fixture(scope="module")
def ollama_client(address: str) -> Iterator[ollama.Client]:
    import ollama

    with ollama.Client(host=address, timeout=60) as found:
        yield found


def _read(stream: Any) -> tuple[str, list[Any]]:
    """Read a stream as the integration does: a message begins with its role, and all of it comes before the reason."""
    text, roles = "", 0
    calls: list[Any] = []
    # All of it: one that is left in the middle ends when the collector finds it, wherever the tests are by then.
    for chunk in list(stream):
        [choice] = chunk.choices
        if choice.finish_reason:
            return text, calls
        roles += choice.delta.role is not None
        assert roles == 1
        text += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.index == len(calls)
            calls.append(call)
    raise AssertionError("the stream did not say why it ended")


def test_the_probes_of_llama_cpp(llama_cpp: openai.OpenAI) -> None:
    [model] = [item.id for item in llama_cpp.with_options(timeout=10).models.list()]
    asked: dict[str, Any] = {"model": model, "messages": QUESTION, "tools": [weather.TOOL], "max_tokens": 3}
    whole = llama_cpp.chat.completions.create(**asked)
    assert whole.choices[0].finish_reason == "length"
    text, calls = _read(llama_cpp.chat.completions.create(**asked, stream=True))
    # It got no further than to the beginning of a call, which is shown as what it is.
    assert (text, calls) == (whole.choices[0].message.content, [])


def test_a_conversation_of_llama_cpp(llama_cpp: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "demo", "tools": [weather.TOOL], "stream": True}
    text, [call] = _read(llama_cpp.chat.completions.create(messages=QUESTION, **asked))
    assert (text, call.function.name) == ("", weather.NAME)
    called: Any = {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}
    result: Any = {**RESULT, "tool_call_id": call.id}
    text, calls = _read(llama_cpp.chat.completions.create(messages=[*QUESTION, called, result], **asked))
    assert "21" in text
    assert not calls


def test_the_probe_and_a_conversation_of_ollama(address: str, ollama_client: ollama.Client) -> None:
    import ollama

    with ollama.Client(host=address, timeout=5) as probe:
        [model] = [item.model or "" for item in probe.list().models]
    asked: dict[str, Any] = {"model": model, "tools": [weather.TOOL], "stream": True, "think": False, "keep_alive": -1}
    asked["options"] = {"num_ctx": 8192}
    lines = list(ollama_client.chat(messages=QUESTION, **asked))
    [call] = [call for line in lines for call in line.message.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == (weather.NAME, weather.ARGUMENTS)
    called: Any = {"role": "assistant", "content": "", "tool_calls": [call.model_dump()]}
    lines = list(ollama_client.chat(messages=[*QUESTION, called, RESULT], **asked))
    assert "21" in "".join(line.message.content or "" for line in lines)
    assert lines[-1].done


def test_a_task_of_ollama_has_what_selectors_become(ollama_client: ollama.Client) -> None:
    fields: dict[str, Any] = {
        "light": {"type": "string", "format": "entity_id", "description": "Which one."},
        "color": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3, "format": "RGB"},
        "since": {"type": "string", "format": "time", "nullable": True},
        "share": {"type": "number", "minimum": 0.0, "maximum": 1.0},
        "language": {"type": "string", "format": "RFC 5646"},
        "more": {"type": "object", "additionalProperties": True},
    }
    form = {"type": "object", "properties": fields, "required": ["light", "color", "share"]}
    asked: dict[str, Any] = {"model": "demo", "stream": True, "format": form, "options": {"num_predict": 100}}
    said = "".join(line.message.content or "" for line in ollama_client.chat(messages=QUESTION, **asked))
    assert {"light", "color", "share"} <= {*json.loads(said)}
