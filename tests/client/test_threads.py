"""Threads that share a plain client."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rkllmd.client import CallError, Client, ConnectionLost
from tests.client.played import PARTIAL, SECONDS, Played
from tests.daemon import Daemon


def test_many_threads_share_a_client(daemon: Daemon) -> None:
    """Each gets its own answers, whoever reads them; streams and tensors among them."""
    with Client(daemon.path) as client, ThreadPoolExecutor(8) as pool:

        def work(number: int) -> str:
            for _ in range(20):
                prompt = f"{number} " * 10
                texts = [partial["text"] for partial in client.stream("rkllm.run_async", {"prompt": prompt})]
                assert texts
                assert client.call("server.status", reply_fds=True)["state"] in ("idle", "running", "aborting")
                with pytest.raises(CallError, match="no method 'unknown"):
                    client.call(f"unknown{number}")
            return "".join(texts)

        assert all(pool.map(work, range(8), timeout=SECONDS))
        assert client._connection._received == {}


def test_long_lines_of_several_threads_are_not_mixed(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, "x", {"prompt": str(number) * 500_000}) for number in range(4)]
        for _ in calls:
            request = daemon.request()
            prompt = request["params"]["prompt"]
            assert prompt == prompt[0] * 500_000
            daemon.answer(request, prompt[0])
        assert [call.result(SECONDS) for call in calls] == list("0123")


def test_close_wakes_the_other_threads(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, "x") for _ in range(4)]
        for _ in calls:
            daemon.request()
        client.close()
        for call in calls:
            with pytest.raises(ConnectionLost, match="closed"):
                call.result(SECONDS)
    client.close()
    with pytest.raises(ConnectionLost, match="make another one"):
        client.call("x")


def test_the_end_of_the_connection_wakes_all_threads(played: tuple[Client, Played]) -> None:
    client, daemon = played
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.call, "x") for _ in range(4)]
        for _ in calls:
            daemon.request()
        daemon.connection.close()
        for call in calls:
            with pytest.raises(ConnectionLost):
                call.result(SECONDS)


def test_requests_whose_answers_nobody_reads_yet_do_not_get_stuck(daemon: Daemon) -> None:
    """The daemon reads no more from a client that does not read: 256 of these are 40 MB."""
    with Client(daemon.path) as client:
        ids = [client.send("rpc.discover") for _ in range(256)]
        assert {client.receive(call_id)["result"]["openrpc"][0] for call_id in ids} == {"1"}


def test_a_generator_that_ends_while_its_thread_sends_does_not_get_stuck(played: tuple[Client, Played]) -> None:
    """The garbage collector may come at any moment, also in the middle of a line."""
    client, daemon = played
    stream = client.stream("long")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(next, stream)
        long = daemon.request()
        daemon.answer(long, PARTIAL)
        first.result(SECONDS)
    with client._connection._sending:
        stream.close()
    client.send("next")
    assert [daemon.request()["method"] for _ in range(2)] == ["next", "$/cancelRequest"]


def test_a_client_is_dropped_without_threads(daemon: Daemon) -> None:
    before = threading.active_count()
    with Client(daemon.path) as client:
        client.call("server.status")
    assert threading.active_count() == before
