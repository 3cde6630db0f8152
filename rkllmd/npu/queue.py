"""Which call has the NPU next: fair between clients, first in first out for each client, bounded. Decides only.

Round robin over connections: if somebody pipelines a thousand calls, one of them is served for each call of the others.
Of the three levels of priority, each is served only when those above it are empty; the daemon's own jobs, which clean
up, come before all of them. The order within a level is in ``turns.py``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import field
from typing import Final

from rkllmd.config import quotas
from rkllmd.config.quotas import Exceeded, Quota
from rkllmd.errors import QueueFull
from rkllmd.npu import turns
from rkllmd.npu.job import UNRESOLVED, Job
from rkllmd.npu.turns import Lasts, Models
from rkllmd.quick_dataclass import dataclass
from rkllmd.wire.members import PRIORITIES

# If no such call was seen yet, nothing better is known.
_RETRY_AFTER_MS: Final = 1000
_WHAT: Final = {
    "all": "The queue for the NPU is full",
    # Detached calls (server.submit) wait as one client of each user.
    "connection": "This connection (or this user with its jobs) has as many calls waiting for the NPU as it may",
    "user": "This user has as many calls waiting for the NPU as it may",
}


@dataclass(slots=True)
class Limits:
    """How many calls may wait: in all, of one connection, of one user; and how many of all are for operators alone."""

    total: int
    per_client: int
    per_user: int
    reserve: int = 0
    is_operator: Callable[[int | None], bool] = field(default=lambda user: False, compare=False)

    @property
    def quota(self) -> Quota:
        """Return what each user may have of the total."""
        return quotas.quota(
            "max_queue", self.total, self.per_user, name_of_share="max_calls_per_user", reserve=self.reserve
        )


class Queue:
    """The waiting jobs and the running one."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.running: Job | None = None
        self.at_boundary: Job | None = None  # the RKNN call that runs while a generation waits at a token
        # By priority: the clients that wait, in the order of their turns, each with its jobs. The daemon's own jobs are
        # the first level. Plain dictionaries: another thread that looks at their values runs no code of Python's, as it
        # would to hash a client.
        self._levels: dict[str, dict[Hashable, deque[Job]]] = {level: {} for level in ("daemon", *PRIORITIES)}
        self._begun = Models()  # after the running job
        self._length = 0
        self.fitting_between_tokens = 0  # how many of the waiting jobs may run while a generation waits at a token

    def __len__(self) -> int:
        """Return how many jobs wait; the running one is not among them."""
        return self._length

    def __iter__(self) -> Iterator[Job]:
        """Iterate over a snapshot of the waiting jobs in the order of their turns as it is now."""
        return iter([job for job, _ in self.foreseen(time.monotonic(), 0.0, lambda job, loads: 0.0)])

    def add(self, job: Job, retry_after_ms: Callable[[], int | None] = lambda: None) -> None:
        """Let ``job`` wait for its turn.

        Raises QueueFull, with ``retry_after_ms`` if that is known; but not for the daemon's own jobs, which clean up.
        """
        if job.client is not None:
            self._check(job, retry_after_ms)
        self._level_of(job).setdefault(job.client, deque()).append(job)
        self._count(job, 1)
        job.enqueue()

    def next(self) -> Job | None:
        """Take the job whose turn it is, if the worker is idle and a job waits."""
        job = self.first() if self.running is None else None
        if job is None:
            return None
        passed = next(iter(self._level_of(job).values()))[0]
        if passed is not job:
            passed.pass_over(time.monotonic())
        self._begun.begin(job)
        self.give_turn(job)
        self.running = job
        return job

    def first(self) -> Job | None:
        """Return the job that would have the next turn, which waits on."""
        now = time.monotonic()
        for clients in self._levels.values():
            if clients:
                return turns.first(clients.values(), Models(), lambda job: job.was_passed_over(now))
        return None

    def foreseen(self, now: float, wait: float | None, lasts: Lasts) -> list[tuple[Job, float | None]]:
        """Return the waiting jobs in the order in which they would be served, were none to come, with their waits.

        ``wait``: how many milliseconds the running job still takes; see ``turns.foreseen``.
        """
        levels = [clients.values() for clients in self._levels.values()]
        return turns.foreseen(levels, self._begun.copy(), now, wait, lasts)

    def take(self, wanted: Callable[[Job], bool]) -> Job | None:
        """Take the first job in turn that is ``wanted``; of each client, only its first job is looked at."""
        heads = (jobs[0] for clients in self._levels.values() for jobs in clients.values())
        job = next(filter(wanted, heads), None)
        if job is not None:
            self.give_turn(job)
        return job

    def give_turn(self, job: Job) -> None:
        """Take a waiting job, also along with another one (``together/along.py``): that counts as its client's turn."""
        clients = self._level_of(job)
        # All others have their turn first now, whether this client has more jobs or comes again at once.
        jobs = clients.pop(job.client)
        jobs.remove(job)
        if jobs:
            clients[job.client] = jobs
        self._count(job, -1)
        job.take()

    def run(self, shared: Job) -> None:
        """Note that the job whose turn it was runs as a part of ``shared``."""
        self.running = shared
        shared.take()

    @property
    def members(self) -> list[Job]:
        """Return the jobs that have a part in the running one."""
        return [] if self.running is None else list(self.running.members)

    def finished(self, job: Job) -> None:
        """Note that the running job, or one that has a part in it, has ended."""
        if self.running is not None and job in self.running.members:
            self.running.members.remove(job)
        job.finish()
        if self.running is job:
            self.running, self._begun = None, Models()

    def drop(self, job: Job) -> bool:
        """Take a waiting job out of the queue; return false if it does not wait (any more)."""
        if job.state != "queued":
            return False
        clients = self._level_of(job)
        jobs = clients[job.client]
        jobs.remove(job)
        if not jobs:
            del clients[job.client]
        self._count(job, -1)
        job.finish()
        return True

    def uses(self, target: object) -> bool:
        """Return whether a job on this model runs or waits: then an ordered call has to go behind it."""
        return self.runs_on(target) or self.waits_for(target)

    def waits_for(self, target: object) -> bool:
        """Return whether a waiting job is for this model, or may be."""
        return any(job.target in (target, UNRESOLVED) for job in self.waiting())

    def runs_on(self, target: object) -> bool:
        """Return whether the running job is for this model, or may be."""
        return self.running is not None and self.running.target in (target, UNRESOLVED)

    def changes(self, kinds: Iterable[str]) -> bool:
        """Return whether a load or an unload runs or waits, after which a null handle may mean another object."""
        if self.running is not None and not self.running.changes.isdisjoint(kinds):
            return True
        # A snapshot, since a helper thread asks for big requests.
        return self._length > 0 and any(not job.changes.isdisjoint(kinds) for job in self.waiting() if job.changes)

    def _level_of(self, job: Job) -> dict[Hashable, deque[Job]]:
        return self._levels["daemon" if job.client is None else job.priority]

    def _count(self, job: Job, difference: int) -> None:
        self._length += difference
        if job.fits_between_tokens:
            self.fitting_between_tokens += difference

    def waiting(self) -> list[Job]:
        """Return the waiting jobs in no order; may be called on any thread."""
        return [job for clients in self._levels.values() for jobs in list(clients.values()) for job in list(jobs)]

    def _check(self, job: Job, retry_after_ms: Callable[[], int | None]) -> None:
        own = sum(len(clients.get(job.client, ())) for clients in self._levels.values())
        of_user = sum(1 for other in self.waiting() if other.user is not None and other.user == job.user)
        limits = self.limits
        exceeded = limits.quota.exceeded(of_user, self._length, is_operator=limits.is_operator(job.user))
        if own >= limits.per_client and (exceeded is None or exceeded.whose == "user"):
            exceeded = Exceeded("max_calls_per_connection", limits.per_client, own, "connection")
        if exceeded is not None:
            raise QueueFull(
                f"{_WHAT[exceeded.whose]} ({exceeded.limit}): try again later.",
                queued=exceeded.used,
                retry_after_ms=retry_after_ms() or _RETRY_AFTER_MS,
                **exceeded.data,
            )
