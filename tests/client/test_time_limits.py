"""Time limits of the Python clients: a call that takes too long is cancelled."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rkllmd.client import CallTimeout, Client, open_client
from tests.client.played import FINAL, PARTIAL, SECONDS, Played, is_idle
from tests.daemon import Daemon, until


def test_a_call_that_takes_too_long_is_cancelled(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with pytest.raises(CallTimeout, match=r"slow was not answered within 0.05 s") as caught:
        client.call("slow", timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    slow = daemon.request()
    assert "timeout" not in slow, "it is the client's own"
    assert daemon.request() == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": slow["id"]}}
    daemon.answer(slow, PARTIAL, FINAL)  # its answer comes nevertheless, for nobody
    call_id = client.send("next")
    daemon.answer(daemon.request(), 5)
    assert client.receive(call_id)["result"] == 5
    assert client._connection._received == {}
    assert client._connection._abandoned == set()


def test_a_stream_that_takes_too_long_is_cancelled(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(lambda: list(client.stream("slow", timeout=0.2)))
        slow = daemon.request()
        daemon.answer(slow, PARTIAL)  # in time or not, it is not the end
        with pytest.raises(CallTimeout):
            whole.result(SECONDS)
    assert daemon.request()["params"] == {"id": slow["id"]}


def test_a_daemon_that_reads_nothing_holds_no_call_with_a_limit(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with pytest.raises(CallTimeout):
        client.call("x", {"prompt": "x" * 8_000_000}, timeout=0.05)
    # Half a line is there; it swallows nothing that comes later.
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.call, "next", timeout=SECONDS)
        torn = daemon._lines
        methods: list[str] = []
        while "next" not in methods:
            for line in torn.feed(daemon.connection.recv(1 << 20)):
                with contextlib.suppress(json.JSONDecodeError):
                    request = json.loads(bytes(line))
                    methods.append(request["method"])
        daemon.answer(request, "good")
        assert answer.result(SECONDS) == "good"


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_limit_that_is_none_is_refused(played: tuple[Client, Played], timeout: float) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        played[0].call("x", timeout=timeout)


async def test_trio_a_call_that_takes_too_long_is_cancelled(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="prefill_hold=1")
    daemon.load()
    async with open_client(daemon.path) as client:
        with pytest.raises(CallTimeout, match="was cancelled"):
            await client.call("rkllm.run", {"prompt": "Hello"}, timeout=0.05)
        daemon.let_go()
        assert (await client.call("rkllm.run", {"prompt": "Hello"}, timeout=SECONDS))["finish_reason"] == "stop"
        with pytest.raises(ValueError, match="seconds above 0"):
            await client.call("x", timeout=0)


def test_a_run_over_its_limit_is_aborted_in_the_daemon(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=-1)
    with Client(daemon.path) as client, pytest.raises(CallTimeout):
        client.call("rkllm.run", {"prompt": "Hello"}, timeout=0.2)
    until("the run's end", lambda: is_idle(daemon))
