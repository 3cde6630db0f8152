"""Jobs that do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rkllmd.npu.job import Job, Together


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
    displaces: Sequence[object] = (),
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
        displaces=(lambda: displaces) if displaces else None,
    )
