"""A stream or a call that is left early is cancelled, whatever the way it is left."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
import trio.testing

from rkllmd.client import Client, open_client
from tests.client.played import FINAL, PARTIAL, SECONDS, Played, is_idle
from tests.daemon import Daemon, until


def _break(client: Client) -> None:
    for _ in client.stream("long"):
        break


def _raise(client: Client) -> None:
    with contextlib.suppress(KeyError):
        for _ in client.stream("long"):
            raise KeyError


def _close(client: Client) -> None:
    stream = client.stream("long")
    next(stream)
    stream.close()


def _drop(client: Client) -> None:
    stream = client.stream("long")
    next(stream)
    del stream
    gc.collect()


@pytest.mark.parametrize("leave", [_break, _raise, _close, _drop])
def test_a_stream_left_early_is_cancelled(played: tuple[Client, Played], leave: Callable[[Client], None]) -> None:
    client, daemon = played
    with ThreadPoolExecutor() as pool:
        left = pool.submit(leave, client)
        long = daemon.request()
        daemon.answer(long, PARTIAL)
        left.result(SECONDS)
    assert daemon.request() == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": long["id"]}}
    daemon.answer(long, PARTIAL, {**FINAL, "finish_reason": "abort"})
    call_id = client.send("next")
    daemon.answer(daemon.request(), 5)
    assert client.receive(call_id)["result"] == 5
    assert client._connection._received == {}, "what comes for nobody is not kept"


def test_a_stream_that_has_ended_is_not_cancelled(played: tuple[Client, Played]) -> None:
    """Also not, if its end has come but was not asked for."""
    client, daemon = played
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(lambda: list(client.stream("x")))
        daemon.answer(daemon.request(), PARTIAL, FINAL)
        assert whole.result(SECONDS) == [PARTIAL, FINAL]
        stream = client.stream("y")
        first = pool.submit(next, stream)
        daemon.answer(daemon.request(), PARTIAL, FINAL)
        assert first.result(SECONDS) == PARTIAL
        other = client.send("z")
        daemon.answer(daemon.request(), 1)
        assert client.receive(other)["result"] == 1, "by now the other's end has come as well"
        stream.close()
    client.send("last")
    assert daemon.request()["method"] == "last"


def test_an_interrupted_call_is_cancelled(played: tuple[Client, Played], monkeypatch: pytest.MonkeyPatch) -> None:
    client, daemon = played

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(client._connection, "_read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            client.call("x")
    client._connection._reading_thread = None  # what the one that was replaced does
    assert daemon.request()["method"] == "x"
    assert daemon.request()["method"] == "$/cancelRequest"


def test_the_real_daemon_ends_a_run_that_is_left(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=-1)
    with Client(daemon.path) as client:
        for partial in client.stream("rkllm.run_async", {"prompt": "Hello"}):
            assert partial["_callback_state"] == 0
            break
        daemon.wait_enter("rkllm_abort")
        until("the run's end", lambda: is_idle(daemon))
        assert client.call("server.status")["state"] == "idle"


@pytest.mark.filterwarnings("ignore:Async generator.*was garbage collected:ResourceWarning")
async def test_trio_a_stream_left_by_break_is_cancelled(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    daemon.load(max_new_tokens=-1)
    async with open_client(daemon.path) as client:
        async for _ in client.stream("rkllm.run_async", {"prompt": "Hello"}):
            break
        gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(daemon.wait_enter, "rkllm_abort")
        await trio.to_thread.run_sync(until, "the run's end", lambda: is_idle(daemon))
