"""Jobs that do nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rkllmd.npu.job import Job


def nothing(*_: Any) -> None:
    pass


def job(
    method: str = "x",
    client: object = None,
    *,
    priority: str = "normal",
    user: int | None = None,
    target: object = None,
    changes: Iterable[str] = (),
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
    )
