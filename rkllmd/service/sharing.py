"""Calls of several clients in one job: they share a batch of a language model, and each has its answer when it is due.

The job that does their work belongs to nobody; its members are the calls, which go on one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import outcome

from rkllmd.calls.detached.call import DetachedCall
from rkllmd.errors import InternalError, NotKept
from rkllmd.language.batches import running
from rkllmd.language.batches.company import Lane
from rkllmd.language.models.loading import using
from rkllmd.machine.crash_journal import Asked
from rkllmd.npu.job import Job
from rkllmd.vision import runs
from rkllmd.wire.members import NO_MEMBERS

if TYPE_CHECKING:
    from rkllmd.service.execution import Execution
    from rkllmd.service.parts import Service


def share(service: Service, jobs: Sequence[Job]) -> Job:
    """Return the job that does the work of these, which have their turn; on the event loop."""
    return SharedRun(service, jobs).job


class SharedRun:
    """What the job of a batch does; only the job refers to it."""

    def __init__(self, service: Service, jobs: Sequence[Job]) -> None:
        self._service = service
        self._executions = [cast("Execution", job.together and job.together.call) for job in jobs]
        lanes = [running.lane_of(execution.run()) for execution in self._executions]
        self._jobs = dict(zip(lanes, jobs, strict=True))
        self._company = running.company_of(lanes, self._end)
        for lane, job in self._jobs.items():
            job.begin(lane.generation)
            job.join(partial(self._company.leave, lane, aborted=True))
        first = jobs[0]
        method = self._executions[0].method
        # The time of each run in all is its own affair.
        deadlines = replace(service.timeouts.of(method, NO_MEMBERS), whole=math.inf)
        self.job = Job(
            first.method,
            self._work,
            self._done,
            target=first.target,
            priority=first.priority,
            model_name=first.model_name,
            proves_npu=True,
            deadlines=deadlines,
            abort=self._abort,
            is_generation=True,
            most_tokens=self._company.max_new_tokens,
            ask=self._ask,
            members=jobs,
        )
        self.job.begin(self._company)
        self._company.on_anew = self.job.begin_anew

    def _work(self) -> None:
        """Run the model for all, on the worker thread. Raises RpcError for those that have not ended."""
        language, company = self._service.language, self._company
        for lane in company.lanes:
            client = lane.run.invocation.client
            if not isinstance(client, DetachedCall) or not lane.is_open:
                continue
            try:
                client.begin()
            except NotKept as error:
                lane.refusal = error
                company.close(lane)
        self._executions[0].check_alive()
        runs.finish(self._service.vision, company.lanes[0].run.invocation)
        with using(language, self.job.target, wakes=True):
            running.run_company(company)

    def _end(self, lane: Lane) -> None:
        """End the call of a lane that was closed, on the event loop."""
        job = self._jobs[lane]
        if lane.refusal is not None:
            running.let_go(lane)
            self._service.npu.end_member(job, outcome.Error(lane.refusal))
            return
        self._service.npu.end_member(job, outcome.Value(partial(running.final_of, self._company, lane)))

    def _done(self, result: outcome.Outcome[object]) -> None:
        """End those whose lanes are open, since the run has failed; on the event loop."""
        error = result.error if isinstance(result, outcome.Error) else InternalError("A run was lost in its batch.")
        for lane, job in self._jobs.items():
            if lane.is_open:
                lane.is_open = False
                lane.generation.on_progress = None
                running.let_go(lane)
                self._service.npu.end_member(job, outcome.Error(error))

    def _abort(self) -> None:
        """Make all of them end early, on the event loop."""
        for job in list(self.job.members):
            self._service.npu.cancel(job)

    def _ask(self) -> Asked:
        """Return what the crash journal is told: the first of those that go on; on any thread."""
        lanes = zip(self._company.lanes, self._executions, strict=True)
        first = next((execution for lane, execution in lanes if lane.is_open), self._executions[0])
        return first.ask()._replace(runs=max(1, len(self.job.members)))
