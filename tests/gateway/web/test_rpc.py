"""The daemon's own protocol over HTTP: WebSocket, jobs, and answers while the NPU is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from trio_websocket import WebSocketConnection, open_websocket_url

from tests.daemon import ENDLESS, Daemon, Start
from tests.gateway.process import gateway

ANSWER = {"text": "a b ", "tokens": "words"}


@pytest.fixture(scope="module")
def served(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    """Return a daemon whose scenario a test changes, and where its gateway is."""
    daemon = start_for_module(changing=True)
    daemon.load(max_new_tokens=1_000_000_000)
    with gateway(daemon.path, tmp_path_factory.mktemp("gateway")) as address:
        yield daemon, address


async def ask(socket: WebSocketConnection, call_id: int, method: str, params: Any = None) -> None:
    await socket.send_message(json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}))


async def test_a_websocket_has_partial_results_and_events_as_they_come(served: tuple[Daemon, str]) -> None:
    daemon, address = served
    daemon.play(**ANSWER)
    async with open_websocket_url(f"{address.replace('http', 'ws')}/ws", subprotocols=["jsonrpc"]) as socket:
        await ask(socket, 1, "server.watch", {"events": ["queue"]})
        await ask(socket, 2, "rkllm.run_async", {"prompt": "Hello"})
        found: list[Any] = []
        while not any("finish_reason" in message.get("result", ()) for message in found):
            found.append(json.loads(await socket.get_message()))
        assert socket.subprotocol == "jsonrpc"
    assert {"server.event"} == {message["method"] for message in found if "method" in message}
    results = [message["result"] for message in found if message.get("id") == 2]
    assert [result["seq"] for result in results] == [0, 1, 2]
    assert "".join(result["text"] for result in results) == "a b "


async def test_closing_it_ends_what_runs(served: tuple[Daemon, str]) -> None:
    daemon, address = served
    daemon.play(ENDLESS)
    ended = daemon.calls("rkllm_run_async", "finished")
    async with open_websocket_url(f"{address.replace('http', 'ws')}/ws") as socket:
        await ask(socket, 1, "rkllm.run_async", {"prompt": "Hello"})
        assert json.loads(await socket.get_message())["result"]["seq"] == 0
    daemon.wait_finished(ended + 1)


def test_pages_of_other_origins_get_none(served: tuple[Daemon, str]) -> None:
    _, address = served
    headers = {
        "upgrade": "websocket",
        "connection": "upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "origin": "https://evil.example",
    }
    refused = httpx.get(f"{address}/ws", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "PermissionDenied")


def test_a_job_by_its_number(served: tuple[Daemon, str]) -> None:
    daemon, address = served
    daemon.play(**ANSWER)
    call = {"method": "rkllm.run", "params": {"prompt": "Hello"}}
    with httpx.Client(base_url=address, timeout=60) as http:
        job = http.post("/rpc", json={"jsonrpc": "2.0", "id": 1, "method": "server.submit", "params": call}).json()
        number = job["result"]["job"]
        while (found := http.get(f"/status/{number}").json())["status"] != "completed":
            assert found["status"] in ("queued", "processing")
        assert found["result"]["text"] == "a b "
        assert http.get(f"/status/{number}?forget=true").status_code == 200
        gone = http.get(f"/status/{number}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "NotFound")


def test_models_are_listed_while_one_is_loaded(served: tuple[Daemon, str]) -> None:
    daemon, address = served
    daemon.play(hold__rkllm_init=1)
    begun = daemon.calls("rkllm_init")
    with httpx.Client(base_url=address, timeout=60) as http, daemon.connect() as loader:
        loader.request("rkllm.init", {"model_path": str(daemon.model), "replace": True})
        daemon.wait_enter("rkllm_init", begun + 1)
        assert http.get("/api/tags").status_code == 200
        assert http.get("/v1/models").status_code == 200
        assert http.get("/health").json()["slots"]["active"] == 1
        daemon.let_go()
        assert "result" in loader.receive()
        # Its handle is another one now, and the next request finds it.
        daemon.play(**ANSWER)
        asked = {"messages": [{"role": "user", "content": "Hello"}]}
        answer = http.post("/v1/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"] == "a b "


def test_a_request_may_have_sixteen_mebibytes(served: tuple[Daemon, str]) -> None:
    _, address = served
    asked = {"messages": [{"role": "user", "content": "x" * (16 * 1024 * 1024 - 4096)}]}
    with httpx.Client(base_url=address, timeout=300) as http:
        answer = http.post("/v1/chat/completions", json=asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_each_of_twenty_turns_by_openais_client_reads_its_own_words_only(served: tuple[Daemon, str]) -> None:
    daemon, address = served
    daemon.play(text="ok")
    messages: list[Any] = [{"role": "system", "content": "Be brief."}]
    read: list[int] = []
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        for _ in range(20):
            messages.append({"role": "user", "content": "What is an NPU?"})
            *chunks, last = client.chat.completions.create(
                model="model", messages=messages, stream=True, stream_options={"include_usage": True}
            )
            said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            messages.append({"role": "assistant", "content": said})
            assert last.usage is not None
            assert last.usage.prompt_tokens_details is not None
            read.append(last.usage.prompt_tokens - (last.usage.prompt_tokens_details.cached_tokens or 0))
    assert said == "ok"
    assert set(read[1:]) == {read[1]}, "however long the conversation has become"
    assert read[1] < 2 * len("What is an NPU?")


def test_a_wrong_method_and_a_body_that_is_not_there_are_refused_in_words(served: tuple[Daemon, str]) -> None:
    _, address = served
    refused = [httpx.get(f"{address}/rpc"), httpx.post(f"{address}/rpc")]
    assert [answer.status_code for answer in refused] == [405, 400]
    errors = [answer.json()["error"] for answer in refused]
    assert [error["message"] for error in errors] == [
        "GET /rpc is not served here: send POST.",
        "The request has no body: send a JSON object.",
    ]
    assert {error["type"] for error in errors} == {"invalid_request_error"}
