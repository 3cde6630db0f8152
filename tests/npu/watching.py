"""A supervisor whose queue has no worker."""

from __future__ import annotations

import math
from typing import Any

import outcome
from structlog.testing import capture_logs

from rkllmd.errors import RpcError, RuntimeFailure
from rkllmd.npu.deadlines import Deadlines
from rkllmd.npu.job import Job
from rkllmd.npu.outage import Outage
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.supervisor import Supervisor

LIMITS = Deadlines(wait=1, first=10, between=2, hard_first=100, hard_between=20, load=1000, grace=5)
FAILED = outcome.Error(RuntimeFailure("rknn_run failed.", function="rknn_run", status=-1, log=[]))
CLIENT = object()


class Watched:
    """A supervisor of a queue without a worker, and what it has asked for."""

    def __init__(self) -> None:
        self.queue = Queue(Limits(9, 9, 9))
        self.cancelled: list[tuple[Job, RpcError | None]] = []
        self.starts = 0
        self.told: list[Outage | None] = []
        # What C has used of the CPU by the next looks.
        self.signs: list[float | None] = []
        self.given_up: list[Outage] = []
        self.patience = math.inf
        self.supervisor = Supervisor(
            self.queue,
            self._cancel,
            self._start,
            self.told.append,
            signs=lambda: self.signs.pop(0),
            patience=lambda: self.patience,
            on_given_up=self.given_up.append,
        )

    def _cancel(self, job: Job, error: RpcError | None) -> bool:
        self.cancelled.append((job, error))
        return True

    def _start(self) -> None:
        self.starts += 1

    def waits(self, method: str = "rknn.run", *, client: object = CLIENT, **more: Any) -> Job:
        """Return a job that waits since 1000."""
        job = Job(method, lambda: None, lambda _: None, client=client, deadlines=LIMITS, **more)
        self.queue.add(job)
        job.queued_at = 1000.0
        return job

    def runs(self, method: str = "rknn.run", **more: Any) -> Job:
        """Return a job that runs since 2000."""
        job = self.waits(method, **more)
        assert self.queue.next() is job
        job.start(2000.0)
        return job

    def stuck(self) -> Job:
        """Return a job that the NPU was lost for."""
        job = self.runs()
        with capture_logs():
            for now in (2010, 2015, 2105):
                self.supervisor.check(now)
        assert self.supervisor.outage is not None
        return job


def outage(retry_at: float = math.inf) -> Outage:
    return Outage("failed to submit!", "Restart.", retry_at, 0.0, 30)
