"""What clients do by themselves where a request fails: again what may succeed, never again what has cost the NPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trio

from tests.bench.gateway.http_client import HttpClient
from tests.daemon import ENDLESS, Daemon, starter, until
from tests.gateway.process import gateway

HELLO: Any = [{"role": "user", "content": "Hello"}]
ASKED: Any = {"model": "model", "messages": HELLO}


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str]]:
    """Return a daemon whose runs go on until they are ended, and where its gateway is."""
    with starter(tmp_path_factory.mktemp("endless")) as start:
        daemon = start("--max-queue", "1", scenario=f"{ENDLESS};prefill_hold=1")
        daemon.load(max_new_tokens=1_000_000_000)
        with gateway(daemon.path, tmp_path_factory.mktemp("gateway")) as address:
            yield daemon, address


def test_a_full_queue_is_tried_again(endless: tuple[Daemon, str]) -> None:
    """It stands first: nobody knows yet how long a run takes, so the client is told to come again after a second."""
    import openai

    daemon, address = endless
    statuses = []
    with ExitStack() as busy, daemon.connect() as wire:
        for waiting in range(2):
            busy.enter_context(HttpClient(address)).post("/v1/chat/completions", ASKED)
            daemon.wait_enter("rkllm_run_async")
            until("the call waits", lambda: wire.ask("server.queue")["result"]["length"] == waiting)  # noqa: B023 it is called at once

        def seen(response: Any) -> None:
            statuses.append(response.status_code)
            daemon.let_go()
            busy.close()  # as soon as the client has been told, there is room

        client = openai.DefaultHttpxClient(event_hooks={"response": [seen]})
        with (
            openai.OpenAI(base_url=f"{address}/v1", api_key="none", http_client=client, max_retries=30) as asking,
            asking.chat.completions.create(**ASKED, stream=True) as chunks,
        ):
            assert next(iter(chunks)).choices[0].delta.role == "assistant"
    # It may come before the daemon has noticed that the others have gone.
    assert (statuses[0], statuses[-1]) == (429, 200)


async def _is_sent_once(daemon: Daemon, ask: Any, error: type[Exception]) -> None:
    """Have a run that somebody else ends, while a client waits for all of its answer."""
    daemon.let_go()
    begun = daemon.calls("rkllm_run_async")

    async def end() -> None:
        await trio.to_thread.run_sync(daemon.wait_enter, "rkllm_run_async", begun + 1)
        with daemon.connect() as wire:
            assert "result" in wire.ask("rkllm.abort")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(error, match="somebody else"):
            await ask()
    assert daemon.calls("rkllm_run_async") == begun + 1


async def test_openais_client_sends_a_run_that_failed_once(endless: tuple[Daemon, str]) -> None:
    import openai

    daemon, address = endless
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:
        await _is_sent_once(daemon, lambda: client.chat.completions.create(**ASKED), openai.InternalServerError)


async def test_anthropics_client_sends_a_run_that_failed_once(endless: tuple[Daemon, str]) -> None:
    import anthropic

    daemon, address = endless
    async with anthropic.AsyncAnthropic(base_url=address, api_key="none") as client:
        await _is_sent_once(
            daemon, lambda: client.messages.create(**ASKED, max_tokens=10**9, timeout=60), anthropic.InternalServerError
        )
