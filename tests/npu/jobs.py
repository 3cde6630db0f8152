"""Jobs that do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rkllmd.npu.job import Arrival, Job, Together
from rkllmd.npu.queue import Limits, Queue


def nothing(*_: Any) -> None:
    pass


def alike(key: object = "a model", places: int = 4) -> Together:
    """Return what makes jobs of this key go into one call of C, by a job without a client."""
    return Together(key, places, lambda jobs: Job("shared", nothing, nothing, members=jobs), None)


def job(
    method: str = "x",
    client: object = None,
    *,
    priority: str = "normal",
    user: int | None = None,
    target: object = None,
    changes: Iterable[str] = (),
    together: Together | None = None,
    displaces: Sequence[object] | None = None,
) -> Job:
    return Job(
        method,
        nothing,
        nothing,
        client=client,
        priority=priority,
        user=user,
        target=target,
        changes=frozenset(changes),
        together=together,
        arrives=None if displaces is None else lambda: Arrival(target, displaces),
    )


def filled(*jobs: Job) -> Queue:
    """Return a queue in which these jobs wait."""
    queue = Queue(Limits(2000, 2000, 2000))
    for item in jobs:
        queue.add(item)
    return queue


def served(queue: Queue) -> list[str]:
    """Return the names in the order in which the jobs are served."""
    names = []
    while (found := queue.next()) is not None:
        names.append(found.method)
        queue.finished(found)
    return names
