"""Whom a call waits for a moment before it begins, so that they share one call of C. Decides only."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

from rkllmd.npu.job import Job
from rkllmd.npu.together.along import along

# For how long it is waited for: this part of the time that its run took, so that no batch is much slower for it, and
# no longer than a token takes a board. Not waiting long enough costs more: of four clients in two halves, each half
# waits for the other's batch.
GATHER_PART: Final = 0.1
GATHER_SECONDS: Final = 0.05


class Gathering:
    """For whom it pays to wait a moment: a client that has just had its answer often asks again at once.

    Without that, clients which ask one question after the other would find themselves in two halves, each of which
    waits for the other's batch.
    """

    def __init__(self) -> None:
        """Expect nobody."""
        self._expected: dict[Hashable, tuple[Hashable, float]] = {}

    def note_end(self, job: Job, now: float) -> None:
        """Expect the client of a job that has ended to come again, unless the client itself has ended it."""
        self._forget_late(now)
        if job.together is not None and isinstance(job.client, Hashable) and not job.cancelled:
            patience = min(GATHER_PART * (now - job.started_at), GATHER_SECONDS)
            self._expected[job.client] = (job.together.key, now + patience)

    def forget(self, client: object) -> None:
        """Do not expect a client that is gone."""
        if isinstance(client, Hashable):
            self._expected.pop(client, None)

    def until(self, first: Job, waiting: Iterable[Job], now: float) -> float:
        """Return until when ``first``, whose turn it is, has to wait; ``waiting``: all jobs, itself included."""
        self._forget_late(now)
        together = first.together
        if together is None or not self._expected:
            return now
        others = [job for job in waiting if job is not first]
        here = {first.client, *(job.client for job in others)}
        absent = [
            until for client, (key, until) in self._expected.items() if key == together.key and client not in here
        ]
        if 1 + len(along(first, others, now)) >= together.places:
            return now
        return max(absent, default=now)

    def _forget_late(self, now: float) -> None:
        self._expected = {client: item for client, item in self._expected.items() if item[1] > now}
