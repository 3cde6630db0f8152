"""The NPU's queue and its one worker thread: order, bounds, cancellation, and that nobody is forgotten."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

import outcome
import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from rkllmd.calls.failure import as_error
from rkllmd.errors import (
    Cancelled,
    DeviceLost,
    InternalError,
    InvalidParams,
    QueueFull,
    RpcError,
    RuntimeFailure,
    ShuttingDown,
    Timeout,
)
from rkllmd.npu import worker as npu
from rkllmd.npu.deadlines import Deadlines, Step, next_step
from rkllmd.npu.durations import Durations
from rkllmd.npu.job import UNRESOLVED, Job
from rkllmd.npu.load import Load
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.supervisor import Supervisor
from rkllmd.npu.worker import Npu


def nothing(*_: Any) -> None:
    pass


def job(method: str = "x", *, client: object = None, target: object = None, changes: Iterable[str] = ()) -> Job:
    return Job(method, nothing, nothing, client=client, target=target, changes=frozenset(changes))


# The queue's decisions, without a thread


def test_first_in_first_out_one_at_a_time() -> None:
    queue = Queue(Limits(10, 10, 100))
    assert queue.next() is None
    first, second = job("first"), job("second")
    queue.add(first)
    queue.add(second)
    assert [item.method for item in queue] == ["first", "second"]
    assert (len(queue), first.state) == (2, "queued")
    assert queue.next() is first
    assert (queue.running, first.state, len(queue)) == (first, "running", 1)
    assert queue.next() is None, "one runs"
    queue.finished(first)
    assert (queue.running, first.state) == (None, "finished")
    assert queue.next() is second


def test_the_queue_is_bounded_in_all() -> None:
    queue = Queue(Limits(2, 10, 100))
    queue.add(job(client="a"))
    assert queue.next() is not None
    queue.add(job(client="a"))
    queue.add(job(client="b"))  # the running one does not wait, so it does not count
    late = job(client="c")
    with pytest.raises(QueueFull) as caught:
        queue.add(late)
    assert caught.value.data == {"queued": 2, "limit": 2, "retry_after_ms": 1000}
    assert (len(queue), late.state) == (2, "new")


def test_the_queue_is_bounded_per_client() -> None:
    queue = Queue(Limits(10, 2, 100))
    ours, theirs = object(), object()
    queue.add(job(client=ours))
    queue.add(job(client=ours))
    with pytest.raises(QueueFull) as caught:
        queue.add(job(client=ours))
    assert caught.value.data["limit"] == 2
    assert "This connection" in caught.value.message
    queue.add(job(client=theirs))
    for _ in range(3):
        queue.add(job())  # the daemon's own belong to no client
    assert len(queue) == 6


def test_only_what_waits_can_be_dropped() -> None:
    queue = Queue(Limits(10, 10, 100))
    first, second, never = job(), job(), job()
    queue.add(first)
    queue.add(second)
    queue.next()
    assert not queue.drop(first)
    assert not queue.drop(never)
    assert queue.drop(second)
    assert second.state == "finished"
    assert not queue.drop(second)
    assert list(queue) == []


def test_which_model_is_in_use() -> None:
    queue = Queue(Limits(10, 10, 100))
    running, waiting, idle = object(), object(), object()
    queue.add(job(target=running))
    queue.add(job(target=waiting))
    assert queue.uses(running)
    queue.next()
    assert [queue.uses(model) for model in (running, waiting, idle)] == [True, True, False]
    assert [queue.runs_on(model) for model in (running, waiting, idle)] == [True, False, False]


def test_a_job_whose_model_is_not_known_yet_may_use_any() -> None:
    queue = Queue(Limits(10, 10, 100))
    queue.add(job(target=UNRESOLVED))
    model = object()
    assert queue.uses(model)
    assert not queue.runs_on(model)
    queue.next()
    assert queue.runs_on(model)


def test_whether_the_loaded_models_are_about_to_change() -> None:
    queue = Queue(Limits(10, 10, 100))
    queue.add(job())
    assert not queue.changes({"llm"})
    load = job(changes={"llm"})
    queue.add(load)
    assert queue.changes({"llm"})
    queue.finished(queue.next() or job())
    assert queue.next() is load
    assert queue.changes({"llm"}), "while it runs too"
    queue.finished(load)
    assert not queue.changes({"llm"})


def test_what_changes_matters_to_handles_of_its_kind_only() -> None:
    queue = Queue(Limits(10, 10, 100))
    queue.add(job(changes={"context", "memory"}))
    for _ in ("waits", "runs"):
        assert [queue.changes({kind}) for kind in ("llm", "context", "matmul", "memory")] == [False, True, False, True]
        assert queue.changes(("matmul", "context"))
        assert not queue.changes(())
        queue.next()


def test_the_daemons_own_jobs_are_never_refused() -> None:
    """They give back what clients left behind."""
    queue = Queue(Limits(1, 1, 100))
    queue.add(job(client="a"))
    queue.add(job())
    queue.add(job())
    assert len(queue) == 3
    with pytest.raises(QueueFull) as caught:
        queue.add(job(client="b"))
    assert caught.value.data["queued"] == 3


# The thread


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
    script = Script(Npu(Limits(8, 4, 100)))
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
        Npu(Limits(1, 1, 1000)).submit(Job("x", work, lambda _: pytest.fail("there is nobody")))

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


# Any order of events


class Worker(npu.Npu):
    """The Npu without its thread: the test takes the jobs out of the inbox and finishes them."""

    def __init__(self, limits: Limits) -> None:
        self.queue = Queue(limits)
        self.durations = Durations(None)
        self.closing = False
        self.idle = trio.Event()
        self.idle.set()
        self._inbox = SimpleQueue()
        self.own_deadlines = None
        self._when_handled = lambda function: function()
        self.supervisor = Supervisor(self.queue, self.cancel, self._start_next)

    def started(self) -> list[Job]:
        """Return the jobs given to the thread since the last time."""
        found = []
        while not self._inbox.empty():
            found.append(self._inbox.get())
        return [item for item in found if item is not None]

    def finish(self, job: Job, result: outcome.Outcome[Any]) -> None:
        """Let the work of ``job`` have returned."""
        self._finish(job, result)


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, each job is answered once and nothing is left behind.

    Time is what the test says: the limits are hours, and ``time_passes`` does what would be due after some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.npu = Worker(Limits(6, 3, 100))
        self.clients = [object() for _ in range(3)]
        self.jobs: list[Job] = []
        self.answers: dict[Job, list[outcome.Outcome[Any]]] = {}
        self.started: list[Job] = []
        self.running: Job | None = None
        self.aborts = 0
        self.progress: dict[Job, float] = {}
        # Client → who has waited ever since its last turn.
        self.owed: dict[object, set[object]] = {}
        self._logs = capture_logs()
        self._logs.__enter__()

    def _take_started(self) -> None:
        for job in self.npu.started():
            assert self.running is None, "no two run at once"
            assert not self.owed.get(job.client), "everybody who waited has had a turn since this client's last one"
            waiting = self._forget_who_left()
            for owed in self.owed.values():
                owed.discard(job.client)
            assert job.client is None or None not in waiting, "the daemon's own come first"
            self.owed[job.client] = waiting - {None, job.client} if job.client is not None else set()
            self.started.append(job)
            self.running = job

    def _forget_who_left(self) -> set[object]:
        """Return who waits; who does not wait any more is owed no turn."""
        waiting = {job.client for job in self.npu.queue}
        for owed in self.owed.values():
            owed &= waiting
        return waiting

    @rule(client=st.sampled_from([None, 0, 1, 2]), abortable=st.booleans(), raises=st.booleans(), timed=st.booleans())
    def submit(self, client: int | None, abortable: bool, raises: bool, timed: bool) -> None:
        """Submit a job of a client or of the daemon itself."""
        answers: list[outcome.Outcome[Any]] = []
        job: Job

        def give_up(error: RpcError) -> None:
            assert isinstance(error, Timeout)
            answers.append(outcome.Error(error))

        def done(result: outcome.Outcome[Any]) -> None:
            if not job.answered:  # else the connection finds the call answered
                answers.append(result)
            if raises:
                raise ValueError("in done")

        def abort() -> None:
            self.aborts += 1

        job = Job("x", nothing, done, client=None if client is None else self.clients[client])
        if abortable:
            job.abort = abort
            job.progressed_at = lambda: self.progress.get(job, 0.0)
        if timed:
            job.deadlines, job.give_up = Deadlines(3600, 7200, 3600, 7200, 7200, 7200, 3600), give_up
        lost = self._is_lost_for(job)
        own = sum(1 for other in self.npu.queue if other.client is job.client) if client is not None else 0
        full = client is not None and (len(self.npu.queue) >= 6 or own >= 3)
        try:
            self.npu.submit(job)
        except ShuttingDown:
            refused = True
            assert self.npu.closing
            assert client is not None
        except DeviceLost:
            refused = True
            assert lost
        except QueueFull:
            refused = True
            assert full
        else:
            refused = False
            assert not full
            assert not lost
            self.jobs.append(job)
            self.answers[job] = answers
        assert not (refused and answers), "what is refused is answered by who wanted to submit it"
        self._take_started()

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel some job."""
        job = data.draw(st.sampled_from(self.jobs))
        state, aborts = job.state, self.aborts
        assert self.npu.cancel(job) == (state != "finished")
        if state == "running":
            assert job.cancelled
            assert self.aborts == aborts + (job.abort is not None)
        self._forget_who_left()
        self._take_started()

    @rule(client=st.integers(0, 2))
    def client_gone(self, client: int) -> None:
        """Let a client disconnect."""
        gone = self.clients[client]
        self.npu.cancel_client(gone)
        assert all(job.client is not gone for job in self.npu.queue)
        self._forget_who_left()
        self._take_started()

    def _is_lost_for(self, job: Job) -> bool:
        outage = self.npu.supervisor.outage
        if outage is None or job.client is None:
            return False
        running = self.running
        is_trial = running is not None and running.progressed_at and running.started_at >= outage.retry_at
        if is_trial and running in self.progress:
            return False  # its first token is the proof that the NPU is back
        return not (outage.retry_at == 0 and self.running is None and not len(self.npu.queue))

    @precondition(lambda self: self.running is not None)
    @rule(how=st.sampled_from(["returns", "raises", "fails"]))
    def finish(self, how: str) -> None:
        """Let the running job's work return, raise, or say that the C function failed."""
        job, self.running = self.running, None
        assert job is not None
        errors = {"raises": ValueError("in work"), "fails": RuntimeFailure("no", function="x", status=-1, log=[])}
        self.npu.finish(job, outcome.Error(errors[how]) if how in errors else outcome.Value(1))
        self._take_started()

    @precondition(lambda self: self.running is not None)
    @rule()
    def a_token_comes(self) -> None:
        """Let the running job get on."""
        assert self.running is not None
        self.progress[self.running] = self.running.started_at + 1

    @precondition(lambda self: any(job.state != "finished" and job.deadlines for job in self.jobs))
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        """Let so much time pass that something is due for one of the jobs, and everything that is due before that."""
        job = data.draw(st.sampled_from([job for job in self.jobs if job.state != "finished" and job.deadlines]))
        state, answered, (due, step) = job.state, len(self.answers[job]), next_step(job)
        self.npu.supervisor.check(due)
        if step is Step.LIMIT:
            assert job.timeout is not None, "it is asked to stop"
            assert job.cancelled
        elif step is Step.HARD:
            assert self.npu.state == "wedged"
        else:
            assert len(self.answers[job]) == 1 > answered, "it is answered"
        assert (job.state == "finished") == (state == "queued")
        self._forget_who_left()
        self._take_started()

    @rule()
    def a_runtime_says_that_the_npu_is_stuck(self) -> None:
        """Let a job fail in the driver."""
        self.npu.supervisor.lose(Outage("failed to submit!", "Wait.", time.monotonic() + 3600, 0.0, 3600))
        assert all(job.client is None for job in self.npu.queue), "what waits is answered"
        self._forget_who_left()
        self._take_started()

    @precondition(lambda self: self.npu.supervisor.outage is not None)
    @rule()
    def the_time_to_try_again_comes(self) -> None:
        """Let one call be the trial, a waiting one of the daemon's own first."""
        outage = self.npu.supervisor.outage
        assert outage is not None
        if outage.retry_at < math.inf:
            outage.retry_at = 0
        self.npu.supervisor.check(0)
        self._take_started()

    @rule()
    def close(self) -> None:
        """Let the daemon begin to leave."""
        self.npu.close()
        assert len(self.npu.queue) == 0
        self._take_started()

    @invariant()
    def everybody_is_answered_once(self) -> None:
        """Check what holds at any time."""
        for job in self.jobs:
            assert len(self.answers[job]) == (job.state == "finished" or job.answered)
        unfinished = [job for job in self.jobs if job.state != "finished"]
        waiting = list(self.npu.queue)
        assert set(unfinished) == {*waiting, *([self.running] if self.running is not None else [])}
        for client in (None, *self.clients):
            ours = [job for job in unfinished if job.client is client and job is not self.running]
            assert [job for job in waiting if job.client is client] == ours, "first in first out within a client"
        assert self.npu.queue.running is self.running
        assert self.npu.idle.is_set() == (self.running is None)
        waits_for_nothing = self.running is None and len(self.npu.queue) > 0
        assert not waits_for_nothing or self.npu.state == "wedged", "nobody waits for an idle worker"
        assert len(set(map(id, self.started))) == len(self.started)

    def teardown(self) -> None:
        """End what runs and waits, and look back."""
        while self.running is not None or len(self.npu.queue):
            if self.npu.supervisor.outage is not None:
                self.the_time_to_try_again_comes()
            if self.running is not None:
                self.finish(how="returns")
        self._logs.__exit__(None, None, None)
        assert all(len(self.answers[job]) == 1 for job in self.jobs)
        assert len(self.npu.queue) == 0
        assert self.npu.state in ("idle", "wedged")
        for job in self.jobs:
            (result,) = self.answers[job]
            if job not in self.started:
                assert isinstance(result, outcome.Error)
                assert isinstance(result.error, RpcError)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
