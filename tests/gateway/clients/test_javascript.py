"""What clients of the JavaScript world send, as their published packages have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.clients import weather

QUESTION = {"role": "user", "content": weather.QUESTION}
SCHEMA = {**weather.SCHEMA, "$schema": "http://json-schema.org/draft-07/schema#", "additionalProperties": False}
FUNCTION = {"name": weather.NAME, "description": weather.DESCRIPTION, "parameters": SCHEMA}


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=120) as found:
        yield found


def posted(http: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_openais_helpers_send_back_what_they_have_parsed(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"model": "demo", "input": [QUESTION]}
    asked["tools"] = [{"type": "function", "strict": True, **FUNCTION}]
    [call] = posted(http, "/v1/responses", asked)["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": weather.RESULT}
    history = [QUESTION, {**call, "parsed_arguments": weather.ARGUMENTS}, result]
    [said] = posted(http, "/v1/responses", {**asked, "input": history})["output"]
    [text] = said["content"]
    assert "21" in text["text"]
    history += [{**said, "content": [{**text, "parsed": None}]}, QUESTION]
    assert posted(http, "/v1/responses", {**asked, "input": history})["output"]


def test_openais_helpers_send_back_parsed_messages(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": [QUESTION]}
    asked["tools"] = [{"type": "function", "function": {**FUNCTION, "strict": True}}]
    message = posted(http, "/v1/chat/completions", asked)["choices"][0]["message"]
    [call] = message["tool_calls"]
    call["function"]["parsed_arguments"] = weather.ARGUMENTS
    result = {"role": "tool", "tool_call_id": call["id"], "content": weather.RESULT}
    history = [QUESTION, {**message, "parsed": None}, result]
    answer = posted(http, "/v1/chat/completions", {**asked, "messages": history})
    assert "21" in answer["choices"][0]["message"]["content"]


def test_the_ai_sdks_ollama_provider_has_its_settings_beside_the_options(http: httpx.Client) -> None:
    asked: dict[str, Any] = {"model": "demo", "messages": [QUESTION], "think": False, "stream": False}
    asked["tools"] = [{"type": "function", "function": FUNCTION}]
    settings = {"temperature": 0, "top_p": 1, "max_output_tokens": 50}
    said = posted(http, "/api/chat", {**asked, **settings, "tool_choice": "auto"})["message"]
    assert [call["function"]["name"] for call in said["tool_calls"]] == [weather.NAME]
    chosen = {"type": "function", "name": weather.NAME}
    greeted = {**asked, "messages": [{"role": "user", "content": "Hello"}]}
    said = posted(http, "/api/chat", {**greeted, "tool_choice": chosen})["message"]
    assert [call["function"]["name"] for call in said["tool_calls"]] == [weather.NAME]
    assert "tool_calls" not in posted(http, "/api/chat", {**asked, "tool_choice": "none"})["message"]
    assert posted(http, "/api/chat", {**greeted, "max_output_tokens": 2})["eval_count"] == 2


def test_a_client_that_shows_summaries_alone_shows_thoughts(http: httpx.Client) -> None:
    asked = {
        "model": "demo",
        "input": "What is the capital of Norway?",
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    thoughts, _ = posted(http, "/v1/responses", asked)["output"]
    assert thoughts["summary"][0]["text"]
    streamed = http.post("/v1/responses", json={**asked, "stream": True}).text
    assert "event: response.reasoning_summary_text.delta" in streamed
    assert "event: response.reasoning_summary_part.done" in streamed


def test_openais_agents_repeat_an_answer_in_its_text(http: httpx.Client) -> None:
    part = {"type": "text", "text": "Hello!", "role": "assistant"}
    history = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": [part]}, QUESTION]
    assert posted(http, "/v1/chat/completions", {"model": "demo", "messages": history})["choices"]
