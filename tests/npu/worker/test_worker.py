"""The NPU's one worker thread: order, cancellation, exceptions, and that nobody is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import outcome
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from rkllmd.calls.failure import as_error
from rkllmd.errors import (
    Cancelled,
    InternalError,
    InvalidParams,
    QueueFull,
    ShuttingDown,
)
from rkllmd.npu.job import Job
from rkllmd.npu.load import Load
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.worker import Npu
from tests.npu.jobs import nothing


class Script:
    """Work that a test lets go step by step, and how the jobs ended."""

    def __init__(self, worker: Npu) -> None:
        self.npu = worker
        self.done: list[tuple[str, outcome.Outcome[Any]]] = []
        self.threads: set[int] = set()
        self._gates: dict[str, threading.Event] = {}
        self._told = trio.Event()

    def submit(
        self,
        name: str,
        *,
        client: object = None,
        abort: bool = False,
        held: bool = True,
        does: Callable[[], Any] | None = None,
    ) -> Job:
        """Submit a job that runs until ``go`` (or its abort), if it is ``held``."""
        gate = self._gates[name] = threading.Event()
        if not held:
            gate.set()

        def work() -> Any:
            self.threads.add(threading.get_ident())
            assert gate.wait(120), f"the test never let {name} go"
            return does() if does is not None else name

        def done(result: outcome.Outcome[Any]) -> None:
            self.done.append((name, result))
            self._told.set()

        # As their modules declare them.
        proves, load = name in ("rkllm.run", "rknn.run"), Load("") if name == "rkllm.init" else None
        job = Job(name, work, done, client=client, proves_npu=proves, load=load)
        if abort:
            job.abort = gate.set
        self.npu.submit(job)
        return job

    def go(self, name: str) -> None:
        """Let a job's work return."""
        self._gates[name].set()

    async def told(self, count: int) -> list[str]:
        """Wait until ``count`` jobs have ended; return their names in that order."""
        with trio.fail_after(120):
            while len(self.done) < count:
                await self._told.wait()
                self._told = trio.Event()
        return [name for name, _ in self.done]


@pytest.fixture
async def script() -> Any:
    """Give a worker thread of the test's own, and stop it."""
    script = Script(Npu(Queue(Limits(8, 4, 100))))
    yield script
    with trio.fail_after(120):
        await script.npu.idle.wait()
    assert script.npu.stop()


async def test_jobs_run_one_by_one_on_one_thread_of_their_own(script: Script) -> None:
    for name in ("a", "b", "c"):
        script.submit(name)
    assert script.npu.state == "running"
    script.go("c")
    script.go("b")
    assert script.done == []
    script.go("a")
    assert await script.told(3) == ["a", "b", "c"]
    assert [result.unwrap() for _, result in script.done] == ["a", "b", "c"]
    assert len(script.threads) == 1
    assert threading.get_ident() not in script.threads
    assert script.npu.state == "idle"


async def test_the_state_says_what_is_going_on(script: Script) -> None:
    assert script.npu.state == "idle"
    script.submit("rkllm.init")
    assert script.npu.state == "loading"
    run = script.submit("rkllm.run")
    script.go("rkllm.init")
    await script.told(1)
    assert script.npu.state == "running"
    script.npu.cancel(run)
    assert script.npu.state == "aborting"
    script.go("rkllm.run")
    await script.told(2)
    assert script.npu.state == "idle"


async def test_a_waiting_job_is_cancelled_at_once_and_never_runs(script: Script) -> None:
    script.submit("running")
    waiting = script.submit("waiting", does=lambda: pytest.fail("it ran"))
    assert script.npu.cancel(waiting)
    ((name, result),) = script.done
    assert name == "waiting"
    with pytest.raises(Cancelled):
        result.unwrap()
    assert not script.npu.cancel(waiting), "it has ended"
    script.go("running")
    assert await script.told(2) == ["waiting", "running"]


async def test_a_running_job_is_asked_to_stop(script: Script) -> None:
    running = script.submit("running", abort=True)
    assert script.npu.cancel(running)
    assert running.cancelled
    assert await script.told(1) == ["running"]
    assert not script.npu.cancel(running)


async def test_a_running_job_that_cannot_be_interrupted_is_marked(script: Script) -> None:
    running = script.submit("running")
    assert script.npu.cancel(running)
    assert running.cancelled
    assert script.done == []
    script.go("running")
    assert await script.told(1) == ["running"]


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()], ids=["error", "exit", "interrupt"]
)
async def test_an_exception_in_the_work_is_the_jobs_outcome(script: Script, error: BaseException) -> None:
    def fail() -> None:
        raise error

    script.submit("fails", held=False, does=fail)
    script.submit("next", held=False)
    assert await script.told(2) == ["fails", "next"]
    assert isinstance(script.done[0][1], outcome.Error)
    assert script.done[0][1].error is error
    assert script.done[1][1].unwrap() == "next"


@pytest.mark.parametrize("error", [ValueError, SystemExit])
async def test_an_exception_in_done_does_not_stop_the_next_job(script: Script, error: type[BaseException]) -> None:
    def fail(_: Any) -> None:
        raise error("no")

    with capture_logs() as logs:
        script.npu.submit(Job("fails", nothing, fail))
        script.submit("next", held=False)
        assert await script.told(1) == ["next"]
    assert [(entry["event"], entry["method"]) for entry in logs] == [("job_done_failed", "fails")]


async def test_an_exception_in_done_does_not_leave_others_waiting_when_they_are_dropped(script: Script) -> None:
    def fail(_: Any) -> None:
        raise ValueError("no")

    client = object()
    script.submit("running")
    script.npu.submit(Job("fails", nothing, fail, client=client))
    script.submit("waiting", client=client)
    with capture_logs() as logs:
        script.npu.cancel_client(client)
    assert [entry["event"] for entry in logs] == ["job_done_failed"]
    assert [name for name, _ in script.done] == ["waiting"]
    script.go("running")
    await script.told(2)


async def test_a_client_that_is_gone_costs_no_npu_time(script: Script) -> None:
    gone, other = object(), object()
    script.submit("running", client=gone, abort=True)
    for name in ("dropped 1", "dropped 2"):
        script.submit(name, client=gone, does=lambda: pytest.fail("it ran"))
    script.submit("of another", client=other, held=False)
    script.npu.cancel_client(gone)
    assert await script.told(4) == ["dropped 1", "dropped 2", "running", "of another"]


async def test_whose_turn_is_next_does_not_matter_when_a_client_goes(script: Script) -> None:
    script.submit("running", client=object())
    waiting = script.submit("waiting", client=object(), held=False)
    waiting.arrives = lambda: pytest.fail("nobody asked for the order, which takes long")
    script.npu.cancel_client(object())
    assert waiting.state == "queued"
    waiting.arrives = None
    script.go("running")
    await script.told(2)


async def test_a_load_goes_on_when_its_client_is_gone(script: Script) -> None:
    gone = object()
    load = script.submit("rkllm.init", client=gone)
    script.npu.cancel_client(gone)
    assert not load.cancelled
    script.go("rkllm.init")
    assert await script.told(1) == ["rkllm.init"]


async def test_a_client_that_is_gone_leaves_others_alone(script: Script) -> None:
    mine = script.submit("running", client=object(), abort=True)
    script.npu.cancel_client(object())
    assert not mine.cancelled
    script.go("running")
    await script.told(1)


async def test_closing_answers_everybody_and_takes_no_more(script: Script) -> None:
    client = object()
    script.submit("running", client=client, abort=True)
    script.submit("waiting", client=client)
    script.npu.close()
    with pytest.raises(ShuttingDown):
        script.submit("late", client=client)
    assert await script.told(2) == ["waiting", "running"]
    with pytest.raises(ShuttingDown):
        script.done[0][1].unwrap()
    # The daemon's own work, such as unloading the models, still runs.
    assert await script.npu.run("rkllm.destroy", lambda: "unloaded") == "unloaded"


async def test_closing_waits_for_what_cannot_be_interrupted(script: Script) -> None:
    load = script.submit("rkllm.init", client=object())
    script.npu.close()
    assert not load.cancelled
    assert not script.npu.idle.is_set()
    assert not script.npu.stop(), "the thread sits in a call"
    script.go("rkllm.init")
    assert await script.told(1) == ["rkllm.init"]


async def test_idle_is_only_when_nothing_runs_or_waits(script: Script) -> None:
    """Who waits for the worker to be idle is not forgotten because another job follows the running one."""
    assert script.npu.idle.is_set()
    script.submit("a")
    idle = script.npu.idle
    assert not idle.is_set()
    script.submit("b")
    script.go("a")
    await script.told(1)
    assert not idle.is_set()
    script.go("b")
    with trio.fail_after(120):
        await idle.wait()
    assert len(script.done) == 2


async def test_the_bounds_hold_for_submit(script: Script) -> None:
    client = object()
    script.submit("running", client=client)
    for number in range(4):
        script.submit(f"waiting {number}", client=client)
    with pytest.raises(QueueFull):
        script.submit("too many", client=client)
    script.npu.cancel_client(client)
    script.go("running")
    await script.told(5)


async def test_own_work_gives_its_result_or_raises_its_error(script: Script) -> None:
    def fail() -> None:
        raise InvalidParams("no")

    assert await script.npu.run("x", lambda: 5) == 5
    with pytest.raises(InvalidParams):
        await script.npu.run("x", fail)


async def test_times_are_noted(script: Script) -> None:
    first = script.submit("first")
    second = script.submit("second", held=False)
    assert first.started_at >= first.queued_at > 0
    assert second.started_at == 0
    script.go("first")
    await script.told(2)
    assert second.started_at >= first.started_at


async def test_what_the_daemon_has_to_do_itself_is_the_trial_when_nobody_asks(script: Script, nursery: Any) -> None:
    """It came while the NPU was lost, and nobody else's call makes it begin."""
    nursery.start_soon(script.npu.supervisor.watch)
    await trio.testing.wait_all_tasks_blocked()
    script.npu.supervisor.lose(Outage("failed to submit!", "Wait.", time.monotonic() + 0.1, 0.0, 3600))
    await trio.testing.wait_all_tasks_blocked()
    script.submit("rknn.destroy", held=False)
    assert script.npu.state == "wedged"
    assert await script.told(1) == ["rknn.destroy"]
    assert script.npu.state == "wedged", "it proves nothing: a context is destroyed without the NPU"
    script.submit("rknn.run", client=object(), held=False)
    await script.told(2)
    assert script.npu.state == "idle"


def test_the_thread_ends_when_the_run_has_ended() -> None:
    """A call that returns after the daemon has left finds nobody to tell."""
    gate, begun = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        begun.set()
        gate.wait(120)

    async def main() -> None:
        Npu(Queue(Limits(1, 1, 1000))).submit(Job("x", work, lambda _: pytest.fail("there is nobody")))

    trio.run(main)
    assert begun.wait(30)
    gate.set()
    threads[0].join(30)
    assert not threads[0].is_alive()
    assert threads[0].daemon, "a call that never returns must not keep the process"


def test_what_a_client_is_told_about_an_exception() -> None:
    known = InvalidParams("no")
    assert as_error(known, "x.y") is known
    with capture_logs() as logs:
        told = as_error(ZeroDivisionError("secret"), "x.y")
    assert isinstance(told, InternalError)
    assert "secret" not in told.message
    assert [(entry["event"], entry["method"]) for entry in logs] == [("internal_error", "x.y")]
