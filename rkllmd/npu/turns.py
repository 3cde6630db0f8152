"""The order of turns among the calls of a level of priority, and the turns that are to come. Decides only.

Round robin over clients; but where a call would have a model loaded in the place of another one that calls wait for, it
lets others go first, for a while.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final

from rkllmd.npu.job import UNRESOLVED, Arrival, Job

# For so long does a call let others go first where a model has to leave for its own that calls wait for. A load takes a
# board five to thirty seconds.
CHANGE_SECONDS: Final = 20.0

Lasts = Callable[[Job, bool], float | None]
"""Return how many milliseconds a waiting job takes, with the load of its model or without it; None if unknown."""


class Models:
    """Which targets leave memory for that of a job, now or when others have had their turns before it.

    Of more than two that take turns in one place, it is only guessed which one would leave then.
    """

    def __init__(self, foreseen: dict[object, Collection[object] | None] | None = None) -> None:
        """Begin with what is so now, but for those ``foreseen``."""
        self._foreseen = foreseen or {}
        # What is so now, as far as it was asked: that takes longer than all else here.
        self._now: dict[object, Arrival] = {}

    def copy(self) -> Models:
        """Return the same, to begin other jobs with."""
        return Models(dict(self._foreseen))

    def displaced_by(self, job: Job) -> Collection[object] | None:
        """Return those that leave if the job begins; None if nothing is loaded for it."""
        arrival = self._of(job)
        if arrival is None:
            return None
        if arrival.target in self._foreseen:
            return self._foreseen[arrival.target]
        return arrival.displaces

    def begin(self, job: Job) -> None:
        """Take notice of what a job changes that begins."""
        arrival, leaving = self._of(job), self.displaced_by(job)
        if arrival is not None and leaving is not None:
            self._foreseen.update(dict.fromkeys(leaving, (arrival.target,)))
            self._foreseen[arrival.target] = None

    def _of(self, job: Job) -> Arrival | None:
        if job.arrives is None:
            return None
        key = job if job.target is None else job.target  # what loads a new model is for none yet
        if key not in self._now:
            self._now[key] = job.arrives()
        return self._now[key]


def first(turns: Collection[deque[Job]], models: Models, waited: Callable[[Job], float]) -> Job:
    """Return the job that is next; ``turns``: the jobs of each client of a level that waits, in the order of turns.

    Otherwise those who use more models than there is room for would have one loaded for nearly every call. ``waited``
    returns for how many seconds others have gone before a job though its turn had come.
    """
    job = next(iter(turns))[0]
    leaving = models.displaced_by(job)
    if not leaving or waited(job) > CHANGE_SECONDS:
        return job
    if all(jobs[0].target not in leaving for jobs in turns):
        return job
    return next((jobs[0] for jobs in turns if _may_go_before(jobs[0], job, models)), job)


def _may_go_before(other: Job, job: Job, models: Models) -> bool:
    """Return whether a job can go before ``job``, which has others leave, without being another one for it."""
    if job.changes and other.target is UNRESOLVED:  # it means the model that is there after that
        return False
    return not models.displaced_by(other)


def foreseen(
    levels: Iterable[Collection[deque[Job]]], models: Models, now: float, wait: float | None, lasts: Lasts
) -> list[tuple[Job, float | None]]:
    """Return the jobs in the order in which they would be served, were none to come, and how long each still waits.

    ``levels``: the jobs of each client, the highest priority first; ``models`` are those when the first of them begins,
    ``wait`` milliseconds after ``now``. Waits are None behind the first job whose time is not known; in the order, such
    a job takes no time.
    """
    passed_at: dict[Job, float] = {}
    order: list[tuple[Job, float | None]] = []
    at = now + (wait or 0.0) / 1000

    def waited(job: Job) -> float:
        since = job.passed_at or passed_at.get(job)
        return at - since if since else 0.0

    for turns in levels:
        left = dict(enumerate(map(deque, turns)))
        while left:
            job = first(left.values(), models, waited)
            passed_at.setdefault(next(iter(left.values()))[0], at)
            client = next(client for client, jobs in left.items() if jobs[0] is job)
            jobs = left.pop(client)
            jobs.popleft()
            if jobs:
                left[client] = jobs
            order.append((job, None if wait is None else round(wait, 1)))
            takes = lasts(job, models.displaced_by(job) is not None)
            wait = None if wait is None or takes is None else wait + takes
            at += (takes or 0.0) / 1000
            models.begin(job)
    return order
