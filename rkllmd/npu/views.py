"""The running and the waiting calls as server.status, server.queue, server.job and server.watch show them.

Nothing is asked of the runtime. How far a load is shows in what the process has read since it began, and in how long
earlier loads of the model took; how far a generation is, in its tokens, and before the first one in how long earlier
ones took.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from rkllmd.json_types import JsonObject
from rkllmd.npu.job import Job
from rkllmd.npu.times import estimates
from rkllmd.npu.times.durations import Durations
from rkllmd.npu.worker import Npu


class _Client(Protocol):
    """Whoever asked for a job."""

    def describe(self) -> str: ...


def of(job: Job, durations: Durations, now: float) -> JsonObject | None:
    """Return how far the running ``job`` is; None for a call that shows no progress."""
    if job.load is not None:
        return job.load.to_json((now - job.started_at) * 1000, estimates.known_load(durations, job))
    generation = job.generation
    if generation is None:
        return None
    first_at, expected = generation.first_token_at, durations.known(estimates.FIRST_TOKEN, job.model_name)
    return {
        "phase": "prefill" if first_at is None else "generate",
        "tokens": generation.tokens,
        "max_new_tokens": generation.max_new_tokens if generation.max_new_tokens > 0 else None,
        "first_token_ms": None if first_at is None else round((first_at - generation.started_at) * 1000, 1),
        "expected_first_token_ms": None if expected is None else round(expected, 1),
    }


def turns(npu: Npu, now: float) -> list[tuple[Job, float | None]]:
    """Return the calls that wait for the NPU, the next one first, and how many milliseconds each still waits."""
    running = npu.queue.running
    wait, lasts = (
        estimates.remaining(npu.durations, running, now),
        estimates.lasts(npu.durations, running, now),
    )
    return npu.queue.foreseen(now, wait, lasts)


def waiting(turns: Sequence[tuple[Job, float | None]], now: float) -> list[JsonObject]:
    """Return what is shown of calls that wait."""
    return [
        {
            "method": job.method,
            "client": describe_client(job.client),
            "priority": job.priority,
            "position": position,
            "queued_ms": elapsed_ms(job.queued_at, now),
            # Null as long as no such call has been seen.
            "estimated_wait_ms": wait,
        }
        for position, (job, wait) in enumerate(turns)
    ]


def at_work(npu: Npu) -> list[Job]:
    """Return what runs: one call, those that share a batch, or nothing."""
    if npu.queue.running is None:
        return []
    return npu.queue.members or [npu.queue.running]


def running(npu: Npu, now: float) -> list[JsonObject]:
    """Return what runs, and how far it is."""
    return [
        {
            "method": job.method,
            "client": describe_client(job.client),
            "elapsed_ms": elapsed_ms(job.started_at, now),
            "progress": of(job, npu.durations, now),
        }
        for job in at_work(npu)
    ]


def place(npu: Npu, job: Job, now: float) -> JsonObject:
    """Return the position and the wait of one of the waiting calls; one that does not wait is served at once."""
    for position, (waits, wait) in enumerate(turns(npu, now)):
        if waits is job:
            return {"position": position, "estimated_wait_ms": wait}
    return {"position": 0, "estimated_wait_ms": 0.0}


def elapsed_ms(since: float, now: float) -> float:
    """Return the milliseconds between two times of the monotonic clock."""
    return round((now - since) * 1000, 1)


def owner_of(job: Job) -> object:
    """Return the client of a job; of one that several share, the first of those."""
    return next((member.client for member in job.members), job.client)


def describe_client(client: object) -> str | None:
    """Return who has made a call, or None for the daemon itself."""
    return None if client is None else cast(_Client, client).describe()
