"""Who is told what, and how often. The clock is trio's, and jumps."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import outcome
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.errors import RuntimeFailure
from rkllmd.npu.job import Job
from rkllmd.npu.load import Load
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.supervisor import Supervisor
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.worker import Npu
from rkllmd.service.crashes import Crashes
from rkllmd.service.events import Events
from rkllmd.store.learned import last_crash
from rkllmd.store.store import Store

# What there is; a test changes it.
MODELS: dict[str, Any] = {"models": [], "declared": []}


class IdleNpu(Npu):
    """A queue without a worker: the test moves its jobs."""

    def __init__(self) -> None:
        self.queue = Queue(Limits(1000, 1000, 1000))
        self.supervisor = Supervisor(self.queue, lambda job, error: False, lambda: None)
        self.durations = Durations()


class Watcher(DetachedCall):
    """A client that notes which events it gets, and when."""

    def __init__(self, number: int = 1, user: int = 1000) -> None:
        super().__init__("server.watch", number=number, user=user, name=f"client {number}")
        self.told: list[tuple[float, dict[str, Any]]] = []

    def notify(self, line: bytes) -> None:
        """Note it."""
        message = json.loads(line)
        assert message.keys() == {"jsonrpc", "method", "params"}
        assert message["method"] == "server.event"
        self.told.append((trio.current_time(), message["params"]))

    def events(self) -> list[dict[str, Any]]:
        """Return the events that it got, and forget them."""
        told, self.told = self.told, []
        return [params for _, params in told]


@asynccontextmanager
async def running() -> AsyncIterator[Events]:
    events = Events(IdleNpu(), Crashes(last_crash(Store())), lambda: dict(MODELS))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.run)
        await wait_all_tasks_blocked()
        yield events
        nursery.cancel_scope.cancel()


async def test_models_are_sent_when_they_change(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(**model: Any) -> list[Any]:
        monkeypatch.setitem(MODELS, "models", [model])
        events.ended(a_load(), outcome.Value(None))
        return [event["models"] for event in watcher.events()]

    async with running() as events:
        watcher = Watcher()
        events.watch(watcher, ["models"])
        assert watcher.events() == [{"event": "models", **MODELS}]
        assert ended(handle=1, unused_s=0.0) == [[{"handle": 1, "unused_s": 0.0}]]
        assert ended(handle=1, unused_s=5.0) == []
        assert ended(handle=2, unused_s=5.0) == [[{"handle": 2, "unused_s": 5.0}]]
        events.forget(watcher.number)
        assert events._npu._observer is None


def a_load() -> Job:
    job = Job("rkllm.init", lambda: None, lambda _: None, client=Watcher(9), model_name="/models/a.rkllm")
    job.load = Load("")
    return job


async def test_nothing_is_observed_while_nobody_watches(autojump_clock: MockClock) -> None:
    async with running() as events:
        npu, watcher = events._npu, Watcher()
        assert npu._observer is None
        events.watch(watcher, ["job"])
        assert npu._observer is None, "ends of jobs don't come from there"
        events.watch(watcher, ["load"])
        assert npu._observer is events
        events.watch(watcher, [])
        assert npu._observer is None
        events.watch(watcher, ["queue"])
        events.forget(watcher.number)
        assert npu._observer is None
        assert not events.is_watching(watcher)
        await trio.sleep(10)
        assert watcher.events() == []


async def test_queue_moves_are_told_ten_times_a_second_and_the_last_state_always(autojump_clock: MockClock) -> None:
    async with running() as events:
        watcher = Watcher()
        events.watch(watcher, ["queue"])
        await trio.sleep(1)
        (first,) = watcher.events()
        assert first == {"event": "queue", "state": "idle", "current": None, "queue": [], "length": 0}
        begun = trio.current_time()
        for _ in range(100):
            job = Job("rkllm.run", lambda: None, lambda _: None)
            events._npu.queue.add(job)
            events.moved(job)
            await trio.sleep(0.003)
        await trio.sleep(1)
        times = [time - begun for time, _ in watcher.told]
        assert len(times) <= 5
        assert all(later - earlier >= 0.0999 for earlier, later in itertools.pairwise(times))
        last = watcher.events()[-1]
        assert last["length"] == 100
        assert [entry["position"] for entry in last["queue"]] == list(range(100))


async def test_a_load_is_told_from_its_begin_to_its_end(autojump_clock: MockClock) -> None:
    async with running() as events:
        watcher, other = Watcher(), Watcher(2)
        events.watch(watcher, ["load"])
        events.watch(other, ["job", "queue"])
        job = a_load()
        events._npu.queue.add(job)
        events.moved(job)
        await trio.sleep(1)
        assert watcher.events() == [], "it waits"
        assert events._npu.queue.next() is job
        events.moved(job)
        await trio.sleep(0.99)
        told = watcher.events()
        assert [event["state"] for event in told] == ["begin", "progress", "progress", "progress", "progress"]
        assert {event["model_path"] for event in told} == {"/models/a.rkllm"}
        assert {event["client"] for event in told} == {"client 9"}
        assert told[1]["progress"]["phase"] == "load"
        events._npu.queue.finished(job)
        events.ended(job, outcome.Value({}))
        await trio.sleep(10)
        assert [event["state"] for event in watcher.events()] == ["end"], "and no progress after it"
        assert {event["event"] for event in other.events()} == {"queue"}


async def test_a_load_that_runs_already_is_told_at_once(autojump_clock: MockClock) -> None:
    async with running() as events:
        job = a_load()
        events._npu.queue.add(job)
        events._npu.queue.next()
        watcher = Watcher()
        events.watch(watcher, ["load"])
        await wait_all_tasks_blocked()
        assert [event["state"] for event in watcher.events()] == ["progress"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RuntimeFailure("rkllm_init failed.", function="rkllm_init"), "RuntimeError"), (ValueError("x"), "InternalError")],
)
async def test_a_load_that_fails_ends_with_its_error(error: Exception, kind: str, autojump_clock: MockClock) -> None:
    async with running() as events:
        watcher = Watcher()
        events.watch(watcher, ["load"])
        events.ended(a_load(), outcome.Error(error))
        (told,) = watcher.events()
        assert (told["state"], told["error"]["data"]["kind"]) == ("end", kind)


async def test_ends_of_jobs_are_told_to_their_user_only(autojump_clock: MockClock) -> None:
    async with running() as events:
        own, same_user, other = Watcher(1, 1000), Watcher(2, 1000), Watcher(3, 0)
        for watcher in (own, same_user, other):
            events.watch(watcher, ["job"])
        call = DetachedCall("rkllm.run", number=1, user=1000, name="job")
        call.end({"text": "secret"}, None)
        events.job_ended(call)
        expected = {"event": "job", "job": call.id, "method": "rkllm.run", "status": "completed", "elapsed_ms": 0.0}
        assert own.events() == same_user.events() == [expected]
        assert other.events() == []


async def test_what_can_not_be_written_is_logged_and_stops_nothing(autojump_clock: MockClock) -> None:
    async with running() as events:
        events.watch(Watcher(), ["load"])
        job = a_load()
        job.model_name = "/models/\udcff.rkllm"  # a name on the command line that is no UTF-8
        with capture_logs() as logs:
            events.ended(job, outcome.Value({}))
        assert [line["event"] for line in logs] == ["event_not_sent"]


async def test_who_asks_why_there_was_a_crash_is_told_once(autojump_clock: MockClock) -> None:
    async with running() as events:
        one, another = Watcher(1), Watcher(2)
        events.watch(one, ["crashed"])
        await wait_all_tasks_blocked()
        assert one.events() == [], "there was none"
        events._crashes.fresh = {"end": "SIGSEGV"}
        events.watch(one, ["crashed", "job"])
        events.watch(another, ["crashed"])
        assert one.events() == [], "the answer comes first"
        events.forget(another.number)
        await wait_all_tasks_blocked()
        assert one.events() == [{"event": "crashed", "crash": {"end": "SIGSEGV"}}]
        assert another.events() == [], "it has gone meanwhile"
