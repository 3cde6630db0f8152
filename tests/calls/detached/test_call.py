"""One detached call: it is a client of its own, and ends once."""

from __future__ import annotations

from collections.abc import Callable

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.errors import InvalidParams
from rkllmd.npu.job import Job
from rkllmd.npu.queue import Limits, Queue
from rkllmd.wire import jsonrpc


def call_of(user: int = 1, on_end: Callable[[DetachedCall], None] | None = None) -> DetachedCall:
    return DetachedCall("rkllm.run", number=7, user=user, name=f"job of {user}", on_end=on_end)


async def test_an_id_is_long_and_never_the_same() -> None:
    ids = {call_of().id for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(item) >= 22 for item in ids)  # 128 bits in base64


async def test_it_ends_once() -> None:
    ends: list[DetachedCall] = []
    call = call_of(on_end=ends.append)
    wire = jsonrpc.Call(jsonrpc.Request(jsonrpc.ABSENT, "rkllm.run", [], {}), None)
    call.refuse(wire, InvalidParams("Wrong."))
    call.answer(wire, {"late": True})
    assert ends == [call]
    assert (call.status, call.result) == ("error", None)
    assert call.error == {"code": -32602, "message": "Wrong.", "data": {"kind": "InvalidParams"}}


async def test_an_ended_call_holds_nothing_of_what_its_client_has_sent() -> None:
    call = call_of()
    call.job = Job("rkllm.run", lambda: None, lambda _: None, client=call)
    call.end(None, None)
    assert call.job is None


async def test_the_jobs_of_a_user_take_turns_as_one_client() -> None:
    queue = Queue(Limits(100, 100, 100))
    connection = object()
    for name, client in [("1a", call_of(1)), ("1b", call_of(1)), ("2a", call_of(2)), ("c", connection)]:
        queue.add(Job(name, lambda: None, lambda _: None, client=client))
    assert [job.method for job in queue] == ["1a", "2a", "c", "1b"]
    assert call_of(1) != connection


async def test_news_of_a_call_waits_until_its_client_knows_it() -> None:
    call, news = DetachedCall("rkllm.run", number=7, user=1, name="job"), list[int]()
    call.when_promised(lambda: news.append(1))
    assert news == [1]
    call.expect_promise()
    call.when_promised(lambda: news.append(2))
    assert news == [1]
    call.keep_promise()
    assert news == [1, 2]
