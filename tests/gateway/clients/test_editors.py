"""What editors and chat programs that are no Python packages send, as their published sources have it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.gateway.clients import weather

# Codex's and Copilot's, for models whose names they know.
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edit files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF'},
}
SNOW = '{"sky": "snow"}'


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=120) as found:
        yield found


def posted(http: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer


def lines(http: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in posted(http, path, body).text.splitlines()]


def chunks(http: httpx.Client, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    found = [line.removeprefix("data: ") for line in posted(http, path, body).text.splitlines() if line[:5] == "data:"]
    return [json.loads(line) for line in found if line != "[DONE]"]


def test_copilots_ollama_provider_finds_models_and_chats_as_with_openai(http: httpx.Client) -> None:
    version = [int(part) for part in http.get("/api/version").json()["version"].split(".")]
    assert version >= [0, 6, 4]
    [listed] = http.get("/api/tags").json()["models"]
    shown = posted(http, "/api/show", {"model": listed["model"]}).json()
    info = shown["model_info"]
    assert info["general.basename"] == "demo"
    assert info[f"{info['general.architecture']}.context_length"] == 1024
    assert {"tools", "vision"} <= {*shown["capabilities"]}
    drawn = io.BytesIO()
    Image.new("RGB", (28, 28)).save(drawn, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode()}"
    picture = {"type": "image_url", "image_url": {"url": url, "detail": "high", "media_type": "image/png"}}
    kept = {"copilot_cache_control": {"type": "ephemeral"}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief.", **kept},
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, picture], "name": "user"},
        {
            "role": "assistant",
            "content": "Hello!",
            "cot_id": "1",
            "cot_summary": "They greet.",
            "copilot_references": [],
        },
        {"role": "user", "content": weather.QUESTION, **kept},
    ]
    asked = {"model": "demo", "temperature": 0.1, "top_p": 1, "n": 1, "stream": True, "tools": [weather.TOOL]}
    asked["stream_options"] = {"include_usage": True}
    came = chunks(http, "/v1/chat/completions", {**asked, "messages": messages, "tool_choice": "required"})
    [call] = [call for chunk in came for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())]
    assert call["function"]["name"] == "get_weather"
    assert came[-1]["usage"]["completion_tokens"] > 0
    messages.append(
        {"role": "assistant", "content": "", "tool_calls": [{k: call[k] for k in ("id", "type", "function")}]}
    )
    messages.append({"role": "tool", "tool_call_id": call["id"], "content": SNOW, **kept})
    came = chunks(http, "/v1/chat/completions", {**asked, "messages": messages})
    assert came[-2]["choices"][0]["finish_reason"] in ("stop", "tool_calls")


def test_zed(http: httpx.Client) -> None:
    [listed] = http.get("/api/tags", headers={"accept": "application/json"}).json()["models"]
    for name in ("name", "modified_at", "size", "digest", "details"):
        assert listed[name] is not None
    for name in ("format", "family", "parameter_size", "quantization_level"):
        assert isinstance(listed["details"][name], str)
    assert "tools" in posted(http, "/api/show", {"model": listed["name"]}).json()["capabilities"]
    options = {"num_ctx": 1024, "num_predict": -1, "stop": [], "temperature": 0.0, "top_p": None}
    asked = {
        "model": listed["name"],
        "stream": True,
        "keep_alive": -1,
        "options": options,
        "tools": [weather.TOOL],
        "think": False,
    }
    said: list[dict[str, Any]] = [{"role": "user", "content": weather.QUESTION, "images": None}]
    came = lines(http, "/api/chat", {**asked, "messages": said})
    calls = [call for line in came for call in line["message"].get("tool_calls", ())]
    assert [call["function"]["name"] for call in calls] == ["get_weather"]
    said.append({"role": "assistant", "content": "", "tool_calls": calls, "images": None, "thinking": None})
    said.append({"role": "tool", "tool_name": "get_weather", "content": SNOW})
    came = lines(http, "/api/chat", {**asked, "messages": said})
    assert (came[-1]["done"], came[-1]["eval_count"] > 0) == (True, True)


def test_continue(http: httpx.Client) -> None:
    shown = posted(http, "/api/show", {"name": "demo"}).json()
    assert isinstance(shown["parameters"], str)
    assert isinstance(shown["template"], str)
    options = {"temperature": 0.01, "num_predict": 8, "num_ctx": 1024, "stop": ["<|im_end|>"]}
    asked = {"model": "demo", "options": options, "keep_alive": 1800, "stream": True}
    came = lines(http, "/api/chat", {**asked, "messages": [{"role": "user", "content": "Hello"}]})
    assert came[-1]["done"]
    came = lines(http, "/api/generate", {**asked, "prompt": "def f(", "raw": True})
    assert "".join(line["response"] for line in came)


def test_open_webui(http: httpx.Client) -> None:
    assert http.get("/v1/models").json()["data"][0]["status"]["value"] == "loaded"
    assert http.get("/api/ps").json()["models"][0]["expires_at"] > "2026"
    title = {"model": "demo", "messages": [{"role": "user", "content": "Name this chat."}], "stream": False}
    assert posted(http, "/v1/chat/completions", {**title, "max_completion_tokens": 4}).json()["timings"]["predicted_n"]
    came = lines(http, "/api/chat", {**title, "stream": True, "options": {}, "keep_alive": "5m"})
    assert came[-1]["eval_duration"] >= 0


def test_claude_code(http: httpx.Client) -> None:
    kept = {"cache_control": {"type": "ephemeral"}}
    tool = {"name": weather.NAME, "description": weather.DESCRIPTION, "input_schema": weather.SCHEMA}
    asked: dict[str, Any] = {
        "model": "demo",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "Be brief.", **kept}],
        "tools": [tool, {**tool, "name": "get_time", **kept}],
        "metadata": {"user_id": "someone"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "stream": True,
    }
    said: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": weather.QUESTION, **kept}]}]
    counted = {name: asked[name] for name in ("model", "system", "tools", "thinking")}
    assert (
        posted(http, "/v1/messages/count_tokens?beta=true", {**counted, "messages": said}).json()["input_tokens"] > 20
    )
    said.append({"role": "system", "content": "Today is Sunday."})  # what it has found out since
    answer = posted(http, "/v1/messages?beta=true", {**asked, "messages": said})
    assert "event: message_stop" in answer.text
    call = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
    thought = {"type": "thinking", "thinking": "I look.", "signature": ""}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": SNOW}], **kept}
    said += [{"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    answer = posted(http, "/v1/messages?beta=true", {**asked, "messages": said})
    assert "event: message_stop" in answer.text


def test_codex(http: httpx.Client) -> None:
    version = [int(part) for part in http.get("/api/version").json()["version"].split(".")]
    assert version >= [0, 13, 4], "else it refuses to use Ollama (--oss)"
    function = {"type": "function", "strict": False, **weather.TOOL["function"]}
    space = {"type": "namespace", "name": "weather", "description": "What the sky does.", "tools": [function]}
    said: list[dict[str, Any]] = [
        {"type": "message", "id": f"msg_{role}", "role": role, "content": [{"type": "input_text", "text": text}]}
        for role, text in (("developer", "Be brief."), ("developer", "# Skills"), ("user", weather.QUESTION))
    ]
    asked: dict[str, Any] = {
        "model": "demo",
        "tools": [space, {"type": "web_search", "external_web_access": False}, PATCH],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "1",
        "client_metadata": {"session_id": "1"},
    }
    chosen = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "weather__get_weather"}],
    }
    last = chunks(http, "/v1/responses", {**asked, "input": said, "tool_choice": chosen})[-1]["response"]
    [call] = [item for item in last["output"] if item["type"] == "function_call"]
    assert (call["name"], call["namespace"]) == (weather.NAME, "weather")
    back = {name: call[name] for name in ("type", "id", "name", "namespace", "arguments", "call_id")}
    said += [back, {"type": "function_call_output", "call_id": call["call_id"], "output": SNOW}]
    last = chunks(http, "/v1/responses", {**asked, "input": said})[-1]
    assert last["type"] == "response.completed"
