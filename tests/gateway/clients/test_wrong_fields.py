"""What the daemon finds wrong is named by the field that the client has sent, in each protocol."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
NUL = [{"role": "user", "content": "a\0b"}]
HUGE = 2**40
PDF = [{"role": "user", "content": [{"type": "document", "source": {"type": "base64", "data": "JVBERi0="}}]}]
NONSENSE = {"type": "nonsense"}
CHAT, RESPONSES, ANTHROPIC = "/v1/chat/completions", "/v1/responses", "/v1/messages"
OLLAMA, GENERATE = "/api/chat", "/api/generate"


@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        (CHAT, {"messages": HELLO, "max_tokens": HUGE}, "max_tokens"),
        (CHAT, {"messages": HELLO, "max_completion_tokens": HUGE}, "max_completion_tokens"),
        (CHAT, {"messages": HELLO, "temperature": 11}, "temperature"),
        (CHAT, {"messages": NUL}, "messages[0].content"),
        (
            CHAT,
            {"messages": HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": NONSENSE}}},
            "response_format.json_schema.schema.type",
        ),
        (RESPONSES, {"input": "Hello", "max_output_tokens": HUGE}, "max_output_tokens"),
        (RESPONSES, {"input": "a\0b"}, "input"),
        (RESPONSES, {"input": [*HELLO, *NUL], "instructions": "Be brief."}, "input[1]"),
        (RESPONSES, {"input": "Hello", "instructions": "a\0b"}, "instructions"),
        (
            RESPONSES,
            {"input": "Hello", "text": {"format": {"type": "json_schema", "name": "a", "schema": NONSENSE}}},
            "text.format.schema.type",
        ),
        ("/v1/completions", {"prompt": "a\0b"}, "prompt"),
        ("/v1/embeddings", {"input": "a\0b"}, "input"),
        ("/v1/embeddings", {"input": ["a", "a\0b"]}, "input[1]"),
        ("/api/embed", {"input": ["a", "a\0b"]}, "input[1]"),
        ("/api/embeddings", {"prompt": "a\0b"}, "prompt"),
        (OLLAMA, {"messages": HELLO, "options": {"num_predict": HUGE}}, "options.num_predict"),
        (OLLAMA, {"messages": HELLO, "options": {"temperature": 11}}, "options.temperature"),
        (OLLAMA, {"messages": HELLO, "temperature": 11, "options": {"top_p": 1}}, "temperature"),
        (OLLAMA, {"messages": HELLO, "max_output_tokens": HUGE}, "max_output_tokens"),
        (OLLAMA, {"messages": HELLO, "options": {"stop": ["a", ""]}}, "options.stop[1]"),
        (OLLAMA, {"messages": HELLO, "format": NONSENSE}, "format.type"),
        (GENERATE, {"prompt": "a\0b", "system": "Be brief."}, "prompt"),
        (GENERATE, {"prompt": "a\0b", "raw": True}, "prompt"),
        (GENERATE, {"prompt": "Hello", "system": "a\0b"}, "system"),
        (ANTHROPIC, {"messages": HELLO, "max_tokens": HUGE}, "max_tokens"),
        (ANTHROPIC, {"messages": HELLO, "stop_sequences": [""]}, "stop_sequences[0]"),
        (ANTHROPIC, {"messages": [*HELLO, *NUL]}, "messages[1]"),
        (ANTHROPIC, {"messages": HELLO, "system": "a\0b"}, "system"),
        (ANTHROPIC, {"messages": PDF}, "messages[0].content[0].source.type"),
        (
            ANTHROPIC,
            {"messages": HELLO, "output_config": {"format": {"type": "json_schema", "schema": NONSENSE}}},
            "output_config.format.schema.type",
        ),
    ],
)
def test_a_wrong_value_is_named_as_the_client_knows_it(
    address: str, path: str, fields: dict[str, Any], name: str
) -> None:
    answer = httpx.post(f"{address}{path}", json=fields, timeout=60)
    assert answer.status_code == 400
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.startswith((f"{name} ", f"{name}: "))
    if "param" in error:
        assert error["param"] == name


def test_a_text_that_is_too_long_is_named_among_others(address: str) -> None:
    answer = httpx.post(f"{address}/v1/embeddings", json={"input": ["a", "word " * 5000]}, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input[1]")
