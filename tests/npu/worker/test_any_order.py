"""Any order of events: each job is answered once, and nothing is left behind."""

from __future__ import annotations

import math
import time
from queue import SimpleQueue
from typing import Any

import outcome
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from structlog.testing import capture_logs

from rkllmd.errors import (
    DeviceLost,
    QueueFull,
    RpcError,
    RuntimeFailure,
    ShuttingDown,
    Timeout,
)
from rkllmd.metrics import Metrics
from rkllmd.npu import worker as npu
from rkllmd.npu.deadlines import Deadlines, Step, next_step
from rkllmd.npu.job import Arrival, Job
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.supervisor import Supervisor
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.together.gathering import Gathering
from tests.npu.jobs import nothing


class Worker(npu.Npu):
    """The Npu without its thread: the test takes the jobs out of the inbox and finishes them."""

    def __init__(self, limits: Limits) -> None:
        self.queue = Queue(limits)
        self.durations = Durations()
        self.metrics = Metrics()
        self.closing = False
        self.idle = trio.Event()
        self.idle.set()
        self._given = SimpleQueue()
        self._gathering = Gathering()
        self._own_deadlines = lambda: None
        self._when_handled = lambda function: function()
        self.supervisor = Supervisor(self.queue, self.cancel, self._start_next)

    def started(self) -> list[Job]:
        """Return the jobs given to the thread since the last time."""
        found = []
        while not self._given.empty():
            found.append(self._given.get())
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
        # There is room for one.
        self.model = 0
        # Client → who has waited ever since its last turn.
        self.owed: dict[object, set[object]] = {}
        self._logs = capture_logs()
        self._logs.__enter__()

    def _take_started(self) -> None:
        for job in self.npu.started():
            assert self.running is None, "no two run at once"
            waiting = self._forget_who_left()
            owed = self.owed.get(job.client, set()) - self._let_others_go_first()
            assert not owed, "everybody who waited has had a turn since this client's last one"
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

    def _let_others_go_first(self) -> set[object]:
        """Return whose next job would have the model leave that is there."""
        firsts = {job.client: job for job in reversed(list(self.npu.queue))}
        return {client for client, job in firsts.items() if job.arrives is not None and job.arrives().displaces}

    @rule(
        client=st.sampled_from([None, 0, 1, 2]),
        model=st.sampled_from([None, 0, 1]),
        abortable=st.booleans(),
        raises=st.booleans(),
        timed=st.booleans(),
    )
    def submit(self, client: int | None, model: int | None, abortable: bool, raises: bool, timed: bool) -> None:
        """Submit a job of a client or of the daemon itself, which may be for one of two models."""
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

        job = Job("x", nothing, done, client=None if client is None else self.clients[client], target=model)
        if model is not None:
            job.arrives = lambda: Arrival(model, None if self.model == model else [self.model])
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
        if isinstance(job.target, int):
            self.model = job.target
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
            assert self.npu.state == "wedged" or job in self.progress, "unless its tokens have shown that it is not"
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
