"""People's clients, pinned and as they are, over the real gateway and the real daemon with the demo model."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import openai
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def ollamas(address: str) -> Iterator[ollama.Client]:
    with ollama.Client(host=address) as found:
        yield found


@pytest.fixture(scope="module")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as found:
        yield found


# -- openai ------------------------------------------------------------------------------------------------------------


def test_a_stream_and_a_whole_answer_say_the_same(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="demo", messages=HELLO, temperature=0)
    assert whole.usage is not None
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 1
    chunks = list(
        client.chat.completions.create(
            model="demo", messages=HELLO, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    *parts, end, count = chunks
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole.choices[0].message.content
    assert [part.choices[0].delta.role for part in parts[:2]] == ["assistant", None]
    assert (end.choices[0].finish_reason, end.choices[0].delta.content) == ("stop", None)
    assert (count.choices, count.usage and count.usage.total_tokens) == ([], whole.usage.total_tokens)


def test_a_conversation_that_goes_on_is_not_read_anew(client: openai.OpenAI) -> None:
    first = client.chat.completions.create(model="demo", messages=HELLO)
    said: Any = {"role": "assistant", "content": first.choices[0].message.content}
    second = client.chat.completions.create(model="demo", messages=[*HELLO, said, *HELLO])
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) >= 10


def test_limits_end_an_answer(client: openai.OpenAI) -> None:
    short = client.chat.completions.create(model="demo", messages=HELLO, max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage and short.usage.completion_tokens) == ("length", 2)
    whole = client.chat.completions.create(model="demo", messages=HELLO, temperature=0, seed=1)
    text = whole.choices[0].message.content or ""
    ended = client.chat.completions.create(model="demo", messages=HELLO, temperature=0, seed=1, stop=[text[3:6]])
    assert ended.choices[0].message.content == text[:3]


def test_an_answer_fits_its_schema_and_a_call_can_be_forced(client: openai.OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"lamp": {"enum": ["on", "off"]}}, "required": ["lamp"]}
    schema["additionalProperties"] = False
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "lamp", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="demo", messages=HELLO, response_format=wanted)
    assert json.loads(answer.choices[0].message.content or "")["lamp"] in ("on", "off")
    tool: Any = {"type": "function", "function": {"name": "switch", "parameters": schema}}
    for streams in (False, True):
        asked: Any = {"model": "demo", "messages": HELLO, "tools": [tool], "tool_choice": "required"}
        if streams:
            chunks = list(client.chat.completions.create(**asked, stream=True))
            calls: Any = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
            reason = chunks[-1].choices[0].finish_reason
        else:
            choice = client.chat.completions.create(**asked).choices[0]
            calls, reason = choice.message.tool_calls, choice.finish_reason
        assert [call.function.name for call in calls] == ["switch"]
        assert json.loads(calls[0].function.arguments)["lamp"] in ("on", "off")
        assert reason == "tool_calls"


def test_props_have_the_models_template(http: httpx.Client) -> None:
    props = http.get("/props", params={"model": "demo"}).json()
    assert "<|im_start|>" in props["chat_template"]
    assert props["eos_token"] == "<|im_end|>"
    assert props["default_generation_settings"]["params"]["temperature"] > 0


def test_several_answers_are_as_many_runs(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "messages": HELLO, "n": 2, "seed": 5, "temperature": 9, "max_tokens": 8}
    asked["extra_body"] = {"top_k": 100, "top_p": 1}
    whole = client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in whole.choices]
    streamed = ["", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    assert texts[0] != texts[1], "each has a seed of its own"


def test_how_likely_each_token_was(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "messages": HELLO, "max_tokens": 5, "temperature": 0}
    asked |= {"logprobs": True, "top_logprobs": 2}
    choice = client.chat.completions.create(**asked).choices[0]
    assert choice.logprobs is not None
    whole = choice.logprobs.content or []
    assert "".join(token.token for token in whole) == choice.message.content
    assert all(token.top_logprobs[0].logprob == token.logprob for token in whole)
    streamed = [
        token
        for chunk in client.chat.completions.create(**asked, stream=True)
        if chunk.choices[0].logprobs is not None
        for token in chunk.choices[0].logprobs.content or ()
    ]
    assert [(token.token, token.bytes) for token in streamed] == [(token.token, token.bytes) for token in whole]
    old = client.completions.create(model="demo", prompt="Once upon", max_tokens=4, temperature=0, logprobs=2)
    told = old.choices[0].logprobs
    assert told is not None
    assert "".join(told.tokens or ()) == old.choices[0].text
    assert told.text_offset is not None
    assert (told.text_offset[0], len(told.token_logprobs or ())) == (0, 4)
    assert all(len(likeliest) == 2 for likeliest in told.top_logprobs or ())


def test_several_texts_are_gone_on_with(client: openai.OpenAI) -> None:
    prompts = ["Once upon", "The king"]
    asked: Any = {"model": "demo", "prompt": prompts, "n": 2, "max_tokens": 4, "seed": 5, "echo": True}
    whole = client.completions.create(**asked)
    texts = [choice.text for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert all(text.startswith(prompts[index // 2]) for index, text in enumerate(texts))
    streamed = [""] * 4
    *chunks, count = client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    for chunk in chunks:
        [choice] = chunk.choices
        streamed[choice.index] += choice.text
    assert streamed == texts
    assert whole.usage is not None
    assert count.usage is not None
    assert count.usage.total_tokens == whole.usage.total_tokens
    one = client.completions.create(**{**asked, "prompt": prompts[1], "n": 1}).usage
    assert one is not None
    assert whole.usage.completion_tokens > one.completion_tokens


def test_a_text_is_gone_on_with(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "prompt": ["Once upon"], "max_tokens": 4, "temperature": 0, "echo": True}
    whole = client.completions.create(**asked)
    assert whole.choices[0].text.startswith("Once upon")
    assert whole.choices[0].finish_reason == "length"
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="demo", prompt="a", suffix="b")
    assert refused.value.param == "suffix"


def test_texts_become_vectors(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "input": ["Hello", "Once upon a time", "Hello"]}
    as_base64 = client.embeddings.create(**asked)  # what the client asks for by itself
    as_numbers = client.embeddings.create(**asked, encoding_format="float")
    first, other, again = (item.embedding for item in as_numbers.data)
    assert len(first) == 128
    assert math.hypot(*first) == pytest.approx(1)
    assert first == again
    assert as_base64.data[0].embedding == pytest.approx(first)
    assert sum(a * b for a, b in zip(first, other, strict=True)) < 0.999
    assert as_numbers.usage.prompt_tokens > 3
    with pytest.raises(openai.BadRequestError, match="128") as refused:
        client.embeddings.create(**asked, dimensions=64)
    assert refused.value.param == "dimensions"


def test_responses_come_whole_and_as_a_ladder_of_events(client: openai.OpenAI) -> None:
    asked: Any = {"model": "demo", "input": "Hello", "temperature": 0, "store": False}
    whole = client.responses.create(**asked)
    assert whole.status == "completed"
    assert whole.usage is not None
    assert whole.usage.output_tokens > 1
    with client.responses.stream(**asked) as stream:
        parts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(parts) == whole.output_text == stream.get_final_response().output_text
    tool: Any = {"type": "function", "name": "switch", "parameters": {"type": "object", "properties": {}}}
    forced = {**asked, "tools": [{**tool, "strict": False}], "tool_choice": "required"}
    with client.responses.stream(**forced) as stream:
        [call] = stream.get_final_response().output
    assert (call.type, call.type == "function_call" and call.name) == ("function_call", "switch")
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="demo", input="Hello", previous_response_id=whole.id)
    assert refused.value.param == "previous_response_id"


def test_a_wrong_field_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="demo", messages=HELLO, n=9)
    assert (refused.value.param, refused.value.response.headers["x-should-retry"]) == ("n", "false")
    with pytest.raises(openai.BadRequestError) as refused:  # the daemon's own check
        client.chat.completions.create(model="demo", messages=HELLO, temperature=11)
    assert refused.value.param == "temperature"


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert refused.value.code == "model_not_found"


def test_models_are_listed(client: openai.OpenAI, http: httpx.Client) -> None:
    assert [item.id for item in client.models.list()] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
    assert http.get("/models").json()["data"][0]["meta"]["n_ctx"] == 1024


# -- ollama -----------------------------------------------------------------------------------------------------------


def test_ollamas_client_chats_and_generates(ollamas: ollama.Client) -> None:
    asked: Any = {"model": "demo", "options": {"temperature": 0, "num_ctx": 8192}}
    whole = ollamas.chat(messages=HELLO, think=False, keep_alive=-1, **asked)
    lines = list(ollamas.chat(messages=HELLO, think=False, stream=True, **asked))
    assert "".join(line.message.content or "" for line in lines) == whole.message.content
    assert (lines[-1].done, lines[-1].done_reason) == (True, "stop")
    assert lines[-1].eval_count == whole.eval_count
    generated = ollamas.generate(prompt="Hello", think=False, **asked)
    assert generated.response == whole.message.content
    in_form = ollamas.chat(model="demo", messages=HELLO, format={"enum": ["yes", "no"]})
    assert json.loads(in_form.message.content or "") in ("yes", "no")


def test_ollamas_client_sees_models(ollamas: ollama.Client, http: httpx.Client) -> None:
    assert [item.model for item in ollamas.list().models] == ["demo"]
    assert [item.model for item in ollamas.ps().models] == ["demo"]
    shown = ollamas.show("demo")
    assert shown.modelinfo is not None
    assert shown.modelinfo["rkllm.context_length"] == 1024
    assert http.get("/api/version").json()["version"]
    assert (http.get("/").text, http.head("/").status_code) == ("Ollama is running", 200)


def test_ollamas_client_is_told_what_is_wrong(ollamas: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        ollamas.chat(model="other", messages=HELLO)
    assert refused.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="images"):
        ollamas.chat(model="demo", messages=[{"role": "user", "content": "", "images": [b"a"]}])


# -- what is asked over HTTP as it is ----------------------------------------------------------------------------------


def test_no_event_has_an_id_and_the_stream_is_chunked(http: httpx.Client) -> None:
    asked = {"messages": HELLO, "stream": True}
    with http.stream("POST", "/chat/completions", json=asked) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        lines = [line for line in answer.iter_lines() if line]
    assert {line.partition(":")[0] for line in lines} == {"data"}
    assert lines[-1] == "data: [DONE]"


def test_health_readiness_and_metrics(http: httpx.Client) -> None:
    assert http.get("/health").json()["slots"]["active"] == 0
    assert http.get("/ready").json()["models"] == ["demo"]
    accepted = {"accept": "application/openmetrics-text; version=1.0.0"}
    text = http.get("/metrics", headers=accepted).text
    names = {item.name for item in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]  # it has no types
    assert {"rkllmd_calls", "rkllmd_generated_tokens", "rkllmd_npu_load_ratio"} <= names


def test_rpc_is_the_daemons_own_protocol(http: httpx.Client) -> None:
    def ask(value: Any, **headers: str) -> httpx.Response:
        return http.post("/rpc", json=value, headers=headers)

    running = {"jsonrpc": "2.0", "id": 1, "method": "rkllm.is_running"}
    assert ask(running).json()["result"]["is_running"] is False
    assert len(ask([running, {**running, "id": 2}]).json()) == 2
    assert ask({"jsonrpc": "2.0", "method": "rkllm.is_running"}).status_code == 204
    run = {"jsonrpc": "2.0", "id": 1, "method": "rkllm.run_async", "params": {"prompt": "Hello", "max_new_tokens": 2}}
    for headers in ({}, {"accept": "application/x-ndjson"}):
        answer = ask(run, **headers)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert len(answer.text.splitlines()) == 3


def test_what_is_no_request_is_refused_in_openais_shape(http: httpx.Client) -> None:
    found = [
        http.post("/v1/chat/completions", content=b"{"),
        http.post("/v1/chat/completions", json=[]),
        http.get("/v1/chat/completions"),
        http.get("/nothing"),
        http.get("/v1/models/other"),
        http.get("/health", headers={"origin": "https://evil.example"}),
        http.post("/v1/chat/completions", content=b" " * (16 * 1024 * 1024 + 1)),
    ]
    assert [answer.status_code for answer in found] == [400, 400, 405, 404, 404, 403, 413]
    assert all(answer.json()["error"]["message"] for answer in found)
    assert all(answer.headers["x-should-retry"] == "false" for answer in found)


def test_headers_without_end_are_refused(address: str) -> None:
    host, _, port = address.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), 60) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40000)
        assert raw.recv(100).startswith(b"HTTP/1.1 431")
