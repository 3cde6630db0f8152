"""Detached calls (server.submit), from their submission until their result is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from rkllmd.json_types import Json
from rkllmd.quick_dataclass import dataclass
from rkllmd.store.store import Done, Store, nobody_waits

if TYPE_CHECKING:
    from rkllmd.config.quotas import Exceeded, Quota

# A call waits this long for a disk that does not answer before it begins nevertheless.
_BEGIN_SECONDS: Final = 5.0


class Bounds(NamedTuple):
    """How many calls may be kept, how many bytes those that wait may have been given, and whether for an operator."""

    jobs: Quota
    given_bytes: Quota
    is_operator: bool

    def too_many(self, user: int | None, users: Sequence[int | None]) -> Exceeded | None:
        """Return what one more call of ``user`` would exceed beside those of ``users``."""
        return self.jobs.exceeded(users.count(user), len(users), is_operator=self.is_operator)

    def too_large(self, user: int | None, more: int, given: Sequence[tuple[int | None, int]]) -> Exceeded | None:
        """Return what a call that was given ``more`` bytes would exceed beside the others, ``given`` theirs."""
        mine = sum(size for other, size in given if other == user)
        total = sum(size for _, size in given)
        return self.given_bytes.exceeded(mine, total, is_operator=self.is_operator, more=more) if more else None


@dataclass(frozen=True, slots=True)
class KeptJob:
    """One row: what was submitted by whom, and how far it is.

    ``connection`` is the number of the connection that submitted it, ``model`` the handle of the language model that it
    is for, if that was known. ``is_bound``: it can't be done without what goes with the daemon, such as an RKNN
    context. ``begun``: how often it has begun; ``is_waiting``: it has not, or is to begin once more.
    ``request`` is its method's parameters and members as JSON, None once it has ended; then it has ``result`` or
    ``error``, as JSON.
    """

    id: str
    user: int | None
    connection: int
    client: str
    method: str
    request: bytes | None
    model: int | None = None
    is_bound: bool = False
    retry: bool = False
    begun: int = 0
    is_waiting: bool = True
    elapsed_ms: float = 0.0
    result: bytes | None = None
    error: bytes | None = None

    @property
    def has_ended(self) -> bool:
        """Return whether there is a result or an error."""
        return self.request is None


_COLUMNS: Final = ", ".join(item.name for item in fields(KeptJob))


class KeptJobs:
    """The table ``jobs``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def is_lasting(self) -> bool:
        """Return whether jobs outlive the daemon."""
        return self._store.is_lasting

    def read(self) -> list[KeptJob]:
        """Return all jobs: those that have ended in the order of their ends, then the others as they were submitted."""
        rows = self._store.read(f"SELECT {_COLUMNS} FROM jobs ORDER BY ended IS NULL, ended, number")
        return [_job(*row) for row in rows]

    def add(self, job: KeptJob, done: Done) -> None:
        """Promise a job: ``done`` is told when it would outlive a power cut, or why it would not."""
        values = (
            job.id,
            job.user,
            job.connection,
            job.client,
            job.method,
            job.request,
            job.model,
            job.is_bound,
            job.retry,
        )
        sql = (
            "INSERT INTO jobs (id, user, connection, client, method, request, model, is_bound, retry) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        self._store.write((sql, values), durable=done, keep=False)

    def begin(self, job_id: str) -> None:
        """Note that a job begins, and return when that outlives the process; a disk that does not answer waits not.

        A power cut may undo it for as long as the disk takes to write it; then all that the job has kept is undone as
        well, for it was written later.
        """
        written = threading.Event()
        self._store.write(
            ("UPDATE jobs SET is_waiting = 0, begun = begun + 1 WHERE id = ?", (job_id,)),
            written=lambda _: written.set(),
            durable=nobody_waits,
        )
        written.wait(_BEGIN_SECONDS)

    def end(self, job_id: str, elapsed_ms: float, result: list[bytes] | None, error: bytes | None) -> None:
        """Note how a job has ended, its result in pieces; what it was given is forgotten."""
        sql = (
            "UPDATE jobs SET request = NULL, is_waiting = 0, elapsed_ms = ?, result = ?, error = ?, "
            "ended = (SELECT coalesce(max(ended), 0) + 1 FROM jobs) WHERE id = ?"
        )
        self._store.write((sql, (elapsed_ms, result, error, job_id)), durable=nobody_waits)

    def wait_again(self, job_id: str) -> None:
        """Let a job that has begun begin once more."""
        self._store.write(("UPDATE jobs SET is_waiting = 1 WHERE id = ?", (job_id,)))

    def forget(self, job_id: str) -> None:
        """Keep a job no longer."""
        self._store.write(("DELETE FROM jobs WHERE id = ?", (job_id,)))


def _job(*row: Json) -> KeptJob:
    """Return the job of a row; SQLite has no booleans."""
    job = KeptJob(*row)
    return replace(job, is_bound=bool(job.is_bound), retry=bool(job.retry), is_waiting=bool(job.is_waiting))
