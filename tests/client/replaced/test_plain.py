"""The blocking client where the daemon is replaced: played by the test, and the real one, killed and started again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rkllmd.client import CallError, Client, ConnectionLost, Crashed, DaemonNotListening, recovery
from tests.client.played import PARTIAL, SECONDS, Place, again, event, failure
from tests.daemon import Daemon, until


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(str(tmp_path / "rkllm.sock"))
    yield place
    place.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once instead of after ten seconds: only the tests of the pauses look at them."""
    monkeypatch.setattr(recovery, "ABSENT_SECONDS", 0.2)


# -- what was sent ---------------------------------------------------------------------------------------------------


def test_what_changes_nothing_is_asked_again(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        call = pool.submit(client.call, "server.status")
        assert first.request()["method"] == "server.status"
        first.connection.close()
        assert place.next().answer_next("new")["method"] == "server.status"
        assert call.result(SECONDS) == "new"


@pytest.mark.parametrize("method", ["rkllm.run", "rkllm.init", "server.submit", "server.job"])
def test_what_may_have_had_an_effect_is_sent_once(place: Place, pool: ThreadPoolExecutor, method: str) -> None:
    with Client(place.path) as client:
        first = place.next()
        call = pool.submit(client.call, method, {"forget": True}, reconnect=True)
        first.request()
        first.connection.close()
        with pytest.raises(Crashed, match=f"before {method} was answered") as caught:
            call.result(SECONDS)
        assert caught.value.method == method
        following = pool.submit(client.call, "server.queue")
        assert place.next().answer_next(1)["method"] == "server.queue", "nothing was sent before it"
        assert following.result(SECONDS) == 1


def test_a_stream_that_had_begun_is_not_begun_again(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        stream = client.stream("rkllm.run_async", {"prompt": "a"})
        partial = pool.submit(next, stream)
        first.answer_next(PARTIAL)
        assert partial.result(SECONDS) == PARTIAL
        first.connection.close()
        with pytest.raises(Crashed):
            next(stream)


def test_half_a_line_is_no_request_and_goes_to_the_next_daemon(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        call = pool.submit(client.call, "rkllm.run", {"prompt": "x" * 8_000_000})
        assert first.connection.recv(1000).startswith(b'{"jsonrpc"')
        first.connection.close()
        assert len(place.next().answer_next("whole")["params"]["prompt"]) == 8_000_000
        assert call.result(SECONDS) == "whole"


def test_restarting_means_that_nobody_had_it(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        call = pool.submit(client.call, "rknn.init", {"model_path": "/a.rknn"})
        for _ in range(3):
            keeper = place.next()
            keeper.request()
            keeper.restarting(1)
        assert place.next().answer_next({"context": 1})["method"] == "rknn.init"
        assert call.result(SECONDS) == {"context": 1}


def test_restarting_that_takes_longer_than_the_caller_waits_is_told_at_once(
    place: Place, pool: ThreadPoolExecutor
) -> None:
    with Client(place.path) as client:
        call = pool.submit(client.call, "server.status", timeout=SECONDS)
        keeper = place.next()
        keeper.request()
        keeper.restarting(SECONDS * 1000)
        with pytest.raises(CallError) as caught:
            call.result(SECONDS)
    assert (caught.value.kind, caught.value.data["retry_after_ms"]) == ("Restarting", SECONDS * 1000)


def test_a_daemon_that_leaves_is_asked_no_more(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        call = pool.submit(client.call, "server.status")
        request = first.request()
        first.send(failure(request["id"], "ShuttingDown"))
        first.connection.close()
        place.next().answer_next("new")
        assert call.result(SECONDS) == "new"


# -- what was not sent -----------------------------------------------------------------------------------------------


def test_after_an_idle_restart_a_program_notices_nothing(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        call = pool.submit(client.call, "rkllm.run", {"prompt": "a"})
        first.answer_next("old")
        assert call.result(SECONDS) == "old"
        first.connection.close()
        call = pool.submit(client.call, "rkllm.run", {"prompt": "b"})
        assert place.next().answer_next("new")["params"] == {"prompt": "b"}
        assert call.result(SECONDS) == "new"


@pytest.mark.parametrize(
    ("method", "params", "gone"),
    [
        ("rknn.init", {"model_path": "/a.rknn"}, "RKNN contexts and memories"),
        ("rkllm.run", {"prompt": "a", "keep_history": 1}, "a conversation"),
    ],
)
def test_what_relies_on_what_is_gone_is_not_sent_until_the_program_knows(
    place: Place, pool: ThreadPoolExecutor, method: str, params: Any, gone: str
) -> None:
    with Client(place.path) as client:
        first = place.next()
        made = pool.submit(client.call, method, params)
        first.answer_next({"context": 1})
        made.result(SECONDS)
        first.connection.close()
        for _ in range(2):
            with pytest.raises(ConnectionLost, match=gone) as caught:
                client.call(method, params)
            assert type(caught.value) is ConnectionLost, "it was not sent"
        client.reconnect(SECONDS)
        second = place.next()
        call = pool.submit(client.call, method, params)
        second.answer_next("again")
        assert call.result(SECONDS) == "again"


def test_a_status_in_between_does_not_hide_what_is_gone(place: Place, pool: ThreadPoolExecutor) -> None:
    """The calls that know of nothing go on over another connection; what belonged to the first one stays gone."""
    with Client(place.path) as client:
        first = place.next()
        made = pool.submit(client.call, "rknn.init", {"model_path": "/a.rknn"})
        first.answer_next({"context": 1})
        made.result(SECONDS)
        first.connection.close()
        status = pool.submit(client.call, "server.status")
        second = place.next()
        second.answer_next("new")
        assert status.result(SECONDS) == "new"
        with pytest.raises(ConnectionLost, match="reconnect"):
            client.call("rknn.run", {"context": 1})
        client.reconnect()
        run = pool.submit(client.call, "rknn.run")
        assert second.answer_next(1)["method"] == "rknn.run"
        assert run.result(SECONDS) == 1


def test_a_client_that_is_to_stay_with_its_connection(place: Place) -> None:
    with Client(place.path, reconnect=False) as client:
        place.next().connection.close()
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                client.call("server.status")


def test_nobody_listens_any_more(place: Place) -> None:
    with Client(place.path) as client:
        place.next()
        place.close()
        with pytest.raises(DaemonNotListening):
            client.call("server.status")
        with pytest.raises(DaemonNotListening):
            client.reconnect(0.05)


def test_closing_ends_the_attempts(place: Place, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "ABSENT_SECONDS", SECONDS)
    client = Client(place.path)
    place.next()
    place.close()
    call = pool.submit(client.call, "server.status")
    until("it is tried again", lambda: client._connection.is_lost)
    client.close()
    with pytest.raises(ConnectionLost, match="closed"):
        call.result(SECONDS)


# -- low-level requests ----------------------------------------------------------------------------------------------


def test_answers_that_came_in_time_can_still_be_taken(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        answered, lost = client.send("a"), client.send("b")
        first.answer_next("early")
        other = pool.submit(client.call, "server.status")
        while first.request()["method"] != "server.status":
            pass
        first.connection.close()
        second = place.next()
        second.answer_next("new")
        assert other.result(SECONDS) == "new"
        assert client.receive(answered)["result"] == "early"
        for call_id in (answered, lost):
            with pytest.raises(Crashed, match=f"request {call_id}"):
                client.receive(call_id)
        call_id = client.send("c")
        second.answer_next("c")
        assert client.receive(call_id)["result"] == "c"


# -- watchers --------------------------------------------------------------------------------------------------------


def test_a_watcher_subscribes_again(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        subscribed = pool.submit(client.watch, "job", "load")
        first.answer_next({"watching": ["job", "load"]})
        events = subscribed.result(SECONDS)
        first.send(event(1))
        assert next(events)["number"] == 1
        keeper_told = pool.submit(next, events)
        first.connection.close()
        place.next().restarting(1)
        second = place.next()
        assert second.answer_next({"watching": ["job", "load"]})["params"] == {"events": ["job", "load"]}
        assert keeper_told.result(SECONDS) == {"event": "reconnected"}, "something may be missing here"
        second.send(event(2))
        assert next(events)["number"] == 2
        events.close()  # type: ignore[attr-defined]  # a generator
        assert second.request()["params"] == {"events": []}


def test_a_watcher_that_is_to_end_with_its_connection(place: Place, pool: ThreadPoolExecutor) -> None:
    with Client(place.path) as client:
        first = place.next()
        subscribed = pool.submit(client.watch, "job", reconnect=False)
        first.answer_next({"watching": ["job"]})
        first.connection.close()
        with pytest.raises(ConnectionLost):
            next(subscribed.result(SECONDS))


# -- the real daemon -------------------------------------------------------------------------------------------------

Start = Callable[..., Daemon]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_was_replaced(start: Start, number: int) -> None:
    first = start(scenario="text=old")
    first.load()
    with Client(first.path) as client:
        assert client.call("rkllm.run", {"prompt": "a"})["text"] == "old"
        first.stop(number)
        second = again(start, first, scenario="text=new")
        second.load()
        assert client.call("rkllm.run", {"prompt": "a"})["text"] == "new"
        assert client.call("server.status")["pid"] == second.process.pid


def test_a_run_that_ends_with_the_daemon_has_crashed(start: Start) -> None:
    first = start(scenario="text=ab;repeat=1000000;pace_us=1000")
    first.load(max_new_tokens=-1)
    with Client(first.path) as client:
        stream = client.stream("rkllm.run_async", {"prompt": "a"})
        next(stream)
        first.stop(signal.SIGKILL)
        with pytest.raises(Crashed):
            list(stream)
        second = again(start, first)
        second.load()
        assert client.call("rkllm.run", {"prompt": "a"})["finish_reason"] == "stop"
        assert second.calls("rkllm_run_async") == 0, "it was not begun again"


def test_many_threads_go_on_with_the_next_daemon(start: Start) -> None:
    first = start()
    with Client(first.path) as client, ThreadPoolExecutor(8) as pool:
        ready = [pool.submit(client.call, "server.status") for _ in range(8)]
        assert all(item.result(SECONDS)["pid"] == first.process.pid for item in ready)
        first.stop(signal.SIGKILL)
        second = again(start, first)
        answers = list(pool.map(lambda _: client.call("server.status"), range(64), timeout=SECONDS))
        assert {answer["pid"] for answer in answers} == {second.process.pid}
        assert answers[-1]["clients"] == 1, "one connection for all"


def test_a_client_waits_while_the_daemon_is_started(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "ABSENT_SECONDS", SECONDS)
    first = start()
    with Client(first.path) as client, ThreadPoolExecutor() as pool:
        events = client.watch("job")
        first.stop(signal.SIGKILL)
        told = pool.submit(next, events)
        status = pool.submit(client.call, "server.status")
        until("both have seen it", lambda: client._connection.is_lost)
        second = again(start, first, scenario="text=abcd")
        assert status.result(SECONDS)["pid"] == second.process.pid
        assert told.result(SECONDS) == {"event": "reconnected"}
        second.load()
        job = client.call("server.submit", {"method": "rkllm.run", "params": {"prompt": "a"}})["job"]
        assert next(events)["job"] == job
