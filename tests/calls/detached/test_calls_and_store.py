"""Detached calls that outlive the daemon: what is written of them, and which go on when it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.calls.detached.calls import DetachedCalls
from rkllmd.config.quotas import quota
from rkllmd.errors import Cancelled, NotKept, QueueFull, RuntimeFailure, ShuttingDown
from rkllmd.npu.job import Job
from rkllmd.store.jobs import Bounds, KeptJob, KeptJobs
from rkllmd.store.store import Store
from rkllmd.wire import jsonrpc
from rkllmd.wire.long_strings import LongText
from tests.store.stores import opened, written

MANY = Bounds(quota("max_jobs", 1000, 1000), quota("max_job_bytes", 2**20, 0), is_operator=False)
REQUEST = b'{"params":{},"members":{}}'
CALL = jsonrpc.Call(jsonrpc.Request(jsonrpc.ABSENT, "rkllm.run", [], {}), None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def submitted(calls: DetachedCalls, *, begun: bool = False, request: bytes = REQUEST, **more: Any) -> DetachedCall:
    """Return a call that waits, or has begun."""

    def ended(call: DetachedCall) -> None:
        calls.keep(call, 2**20)

    call = DetachedCall("rkllm.run", number=7, user=1, name="job of client 7", on_end=ended)
    call.take_record(replace(KeptJob(call.id, 1, 7, "job of client 7", "rkllm.run", request), **more))
    calls.add(call, MANY)
    calls.promise(call, lambda reason: None)
    call.job = Job("rkllm.run", lambda: None, lambda _: None, client=call)
    call.job.enqueue()
    if begun:
        call.job.take()
        call.begin()
    return call


def rows(store: Store) -> list[KeptJob]:
    written(store)
    return KeptJobs(store).read()


async def test_what_happens_to_a_call_is_written(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    done, failed, waiting, running = (submitted(calls, begun=begun) for begun in (True, True, False, True))
    done.answer(CALL, {"text": LongText([b"ab", b"cd"])})
    failed.refuse(CALL, RuntimeFailure("It failed."))
    found = {row.id: row for row in rows(store)}
    assert (found[done.id].result, found[done.id].request) == (b'{"text":"abcd"}', None)
    assert found[failed.id].error == (b'{"code":-32002,"message":"It failed.","data":{"kind":"RuntimeError"}}')
    assert (found[waiting.id].is_waiting, found[waiting.id].begun, found[waiting.id].request) == (True, 0, REQUEST)
    assert (found[running.id].is_waiting, found[running.id].begun) == (False, 1)
    calls.forget(done)
    assert done.id not in {row.id for row in rows(store)}


async def test_what_is_given_up_to_make_room_is_given_up_in_the_store(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    first, second = submitted(calls, begun=True), submitted(calls, begun=True)
    for call in (first, second):
        call.answer(CALL, "x" * 100)
    calls.fit(150)
    assert [row.id for row in rows(store)] == [second.id]


async def test_which_go_on_when_the_daemon_leaves(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    waiting = submitted(calls)
    bound = submitted(calls, is_bound=True)
    running, again = submitted(calls, begun=True), submitted(calls, begun=True, retry=True)
    twice = submitted(calls, begun=True, retry=True)
    twice.begin()
    given_up = submitted(calls, begun=True, retry=True)
    given_up.is_given_up = True
    calls.leave()
    assert [call.is_left for call in (waiting, bound, running, again, twice, given_up)] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    for call in (waiting, bound):  # as the queue does with those that wait
        call.refuse(CALL, ShuttingDown("The daemon is shutting down."))
    for call in (running, again, twice, given_up):  # and with what runs
        assert call.job is not None
        call.job.cancel()
        call.answer(CALL, {"text": "so far", "finish_reason": "abort"})
    with capture_logs() as logs:
        calls.close()
    assert logs == [], "somebody may still read them"
    found = {row.id: row for row in rows(store)}
    assert [found[call.id].is_waiting for call in (waiting, again)] == [True, True]
    assert [found[call.id].has_ended for call in (bound, running, twice, given_up)] == [True] * 4
    assert b"ShuttingDown" in (found[bound.id].error or b"")


async def test_what_comes_to_its_end_while_the_daemon_leaves_has_ended(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    done, failed = submitted(calls, begun=True, retry=True), submitted(calls, begun=True, retry=True)
    calls.leave()
    done.answer(CALL, {"text": "whole", "finish_reason": "stop"})
    failed.refuse(CALL, RuntimeFailure("It failed."))
    calls.close()
    assert [row.has_ended for row in rows(store)] == [True, True]


async def test_one_that_does_not_come_to_an_end_is_told_or_begun_again(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    stuck, again = submitted(calls, begun=True), submitted(calls, begun=True, retry=True)
    calls.leave()
    calls.close()
    found = {row.id: row for row in rows(store)}
    assert b"ShuttingDown" in (found[stuck.id].error or b"")
    assert found[again.id].is_waiting


async def test_a_cancelled_one_has_ended(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    call = submitted(calls)
    call.refuse(CALL, Cancelled("The call was cancelled while it waited."))
    calls.leave()
    calls.close()
    (row,) = rows(store)
    assert b"Cancelled" in (row.error or b"")


async def test_one_that_could_not_be_promised_does_not_begin(store: Store) -> None:
    call = submitted(DetachedCalls(KeptJobs(store)))
    call.unkept_reason = "database or disk is full"
    with pytest.raises(NotKept) as refused:
        call.begin()
    assert refused.value.data == {"reason": "database or disk is full"}


async def test_what_those_that_wait_were_given_is_bounded(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    first = submitted(calls, request=b"x" * 2**19)
    submitted(calls, request=b"x" * 2**18)
    with pytest.raises(QueueFull) as refused:
        submitted(calls)
    assert refused.value.data["limit"] == 768 * 1024
    first.answer(CALL, None)
    submitted(calls)


async def test_an_ended_one_of_an_earlier_daemon_is_kept_as_if_it_had_ended_now(store: Store) -> None:
    earlier = DetachedCalls(KeptJobs(store))
    submitted(earlier, begun=True).answer(CALL, {"text": "x"})
    (row,) = rows(store)
    calls = DetachedCalls(KeptJobs(store))
    call = DetachedCall("rkllm.run", number=-1, user=1, name=row.client, kept=row)
    calls.restore(call)
    call.take_ending({"text": "x"}, None, 5.0)
    assert calls.find(row.id, 1) is call
    assert calls.find(row.id, 2) is None
    assert (call.status, call.elapsed_ms, calls.result_bytes) == ("completed", 5.0, len(b'{"text":"x"}'))


async def test_without_a_store_nothing_goes_on() -> None:
    calls = DetachedCalls(KeptJobs(Store()))
    assert not calls.are_lasting
    assert calls.read() == []
    call = DetachedCall("rkllm.run", number=7, user=1, name="job", on_end=lambda call: calls.keep(call, 1000))
    calls.add(call, MANY)
    calls.promise(call, lambda reason: None)
    call.begin()
    calls.leave()
    with capture_logs() as logs:
        calls.close()
    assert (call.is_left, call.status) == (False, "error")
    assert [line["event"] for line in logs] == ["job_not_read"]


async def test_one_users_large_jobs_leave_room_for_those_of_others(store: Store) -> None:
    calls = DetachedCalls(KeptJobs(store))
    submitted(calls, request=b"x" * (700 * 1024))  # of 1 MiB, one user may have three quarters
    with pytest.raises(QueueFull, match="This user has as many bytes in jobs that wait") as caught:
        submitted(calls, request=b"x" * (100 * 1024))
    assert (caught.value.data["limit"], caught.value.data["whose"]) == (768 * 1024, "user")
    other = DetachedCall("rkllm.run", number=8, user=2, name="job of client 8")
    other.take_record(KeptJob(other.id, 2, 8, "job of client 8", "rkllm.run", b"x" * (100 * 1024)))
    calls.add(other, MANY)
