"""Both Python clients against the real daemon: runs, cancelling, tensors by descriptor, events."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import rkllmd.client
from rkllmd.client import CallError, Client, Tensor, TrioClient, open_client
from tests.daemon import Daemon

DIGITS = Path(rkllmd.__file__).parent / "portable" / "demo" / "digits.onnx"


@pytest.fixture(scope="module")
def daemon(start_for_module: Callable[..., Daemon]) -> Daemon:
    daemon = start_for_module("--max-line-bytes", "100000", scenario="text=quantum computing", changing=True)
    daemon.load()
    return daemon


def test_the_real_daemon(daemon: Daemon) -> None:
    daemon.play(text="quantum computing")
    with Client(daemon.path) as client:
        assert client.call("rkllm.run", {"prompt": "Hello"})["text"] == "quantum computing"
        streamed = list(client.stream("rkllm.run_async", {"prompt": "Hello"}))
        assert "".join(item["text"] for item in streamed) == "quantum computing"
        assert streamed[-1]["finish_reason"] == "stop"
        assert client.call("rkllm.run_async", {"prompt": "Hello"}, stream="final")["text"] == "quantum computing"
        notified = client.call("rkllm.run_async", {"prompt": "Hello"}, stream="notify")
        assert (notified["_callback_state"], notified["seq"]) == (2, len(streamed) - 1)
        assert client._connection._received == {}
        with pytest.raises(CallError) as caught:
            client.call("rkllm.rum")
        assert caught.value.kind == "MethodNotFound"
        assert "Did you mean rkllm.run?" in str(caught.value)
        assert client.call("server.status")["state"] == "idle", "and the connection goes on"


def test_the_real_daemon_says_why_it_closes(daemon: Daemon, start: Callable[..., Daemon]) -> None:
    with Client(daemon.path) as client, pytest.raises(CallError) as caught:
        client.call("rkllm.run", {"prompt": "x" * 3_000_000})
    assert (caught.value.kind, caught.value.data["limit"]) == ("FrameTooLarge", 100_000)
    small = start("--max-connections", "1")
    with Client(small.path) as first, Client(small.path) as second:
        assert first.call("server.status")["clients"] == 1
        with pytest.raises(CallError) as caught:
            second.call("server.status")
    assert caught.value.kind == "QueueFull"


async def test_trio_the_real_daemon(daemon: Daemon) -> None:
    daemon.play(text="quantum computing")
    texts: list[str] = []

    async def run(client: TrioClient, method: str) -> None:
        texts.append("".join([item["text"] async for item in client.stream(method, {"prompt": "Hello"})]))

    async with open_client(daemon.path) as client:
        async with trio.open_nursery() as nursery:
            for method in ("rkllm.run", "rkllm.run_async", "rkllm.run_async"):
                nursery.start_soon(run, client, method)
        assert (await client.call("server.queue"))["length"] == 0
        with pytest.raises(CallError):
            await client.call("rkllm.destroy", [99])
    assert texts == ["quantum computing"] * 3


async def test_trio_the_real_daemon_aborts_a_run_whose_call_is_cancelled(daemon: Daemon) -> None:
    daemon.play(text="ab", repeat=1_000_000, pace_us=1000)
    aborts = daemon.calls("rkllm_abort")
    async with open_client(daemon.path) as client:
        stream = client.stream("rkllm.run_async", {"prompt": "Hello", "max_new_tokens": 0})
        with trio.CancelScope() as scope:
            async with contextlib.aclosing(stream):
                while (await anext(stream))["seq"] < 3:
                    pass
                scope.cancel()
                await anext(stream)
        assert scope.cancelled_caught
        daemon.play(text="next")
        # It waits behind the run, so its answer shows that the run has ended.
        assert (await client.call("rkllm.run", {"prompt": "Hello"}))["text"] == "next"
    assert daemon.calls("rkllm_abort") > aborts


def test_tensors_of_all_kinds_travel_by_descriptor(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    rows = numpy.arange(48 * 48 * 3, dtype=numpy.uint8).reshape(1, 48, 48, 3)
    with Client(daemon.path) as client:
        client.call("rknn.init", {"model_path": str(DIGITS)})

        def scores(pixels: Any) -> bytes:
            result = client.call("rknn.infer", {"inputs": pixels, "want_float": numpy.bool_(True)}, reply_fds=True)
            (output,) = result["outputs"]
            assert output["shape"] == [1, 10]
            return bytes(output["data"])

        expected = scores(rows)
        flipped = rows[:, ::-1]
        assert scores(flipped) == scores(numpy.ascontiguousarray(flipped)) != expected
        assert scores(rows.tobytes()) == scores(Tensor(rows.tobytes(), "uint8", [48, 48, 3])) == expected
        with pytest.raises(TypeError):
            client.call("rknn.infer", {"inputs": object()})
    assert len(expected) == 40


async def test_trio_tensors_travel_by_descriptor(start: Callable[..., Daemon]) -> None:
    daemon = start(runtime="portable")
    async with open_client(daemon.path) as client:
        await client.call("rknn.init", {"model_path": str(DIGITS)})
        pixels = numpy.zeros((48, 48, 3), numpy.uint8)
        by_descriptor = await client.call("rknn.infer", {"inputs": pixels, "want_float": True}, reply_fds=True)
        as_text = await client.call("rknn.infer", {"inputs": pixels, "want_float": True})
    assert bytes(by_descriptor["outputs"][0]["data"]) == base64.b64decode(as_text["outputs"][0]["data"])


def test_the_plain_client_watches_jobs(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=abcd")
    daemon.load()
    with Client(daemon.path) as client:
        events = client.watch("job")
        job = client.call("server.submit", {"method": "rkllm.run", "params": {"prompt": "Hi"}})["job"]
        assert next(events)["job"] == job
        assert client.call("server.job", {"job": job})["result"]["text"] == "abcd"
        events.close()  # type: ignore[attr-defined]  # a generator
        client.call("server.submit", {"method": "rkllm.clear_kv_cache", "params": [None, 1]})
        client.call("server.queue")
        assert not client._connection.events, "nothing is told any more"


async def test_the_trio_client_watches_jobs(start: Callable[..., Daemon]) -> None:
    daemon = start(scenario="text=abcd")
    await trio.to_thread.run_sync(daemon.load)
    async with open_client(daemon.path) as client:
        async with contextlib.aclosing(client.watch("job")) as events:
            async with trio.open_nursery() as nursery:
                told: list[str] = []

                async def watch() -> None:
                    async for event in events:
                        told.append(event["job"])
                        if len(told) == 2:
                            return

                nursery.start_soon(watch)
                await wait_all_tasks_blocked()
                while not client._connection._events:
                    await client.call("server.queue")
                await client.call("server.queue")  # the watch stands now
                inner = {"method": "rkllm.run", "params": {"prompt": "Hi"}}
                jobs = [(await client.call("server.submit", inner))["job"] for _ in range(2)]
            assert told == jobs
        assert client._connection._events is None
        assert (await client.call("server.watch", {"events": []})) == {"watching": []}
