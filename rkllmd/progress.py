"""What the calls look like that run and wait: for server.status, server.queue, server.job and server.watch alike.

The runtime is asked nothing.

A load shows in what the process has read since it began, and in how long this very model took the last times; a
generation in its tokens, and before the first of them in how long that took the last times.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rkllmd import estimates
from rkllmd.handles import Model

if TYPE_CHECKING:
    from rkllmd.history import History
    from rkllmd.npu import Job, Npu
    from rkllmd.streaming import Generation

_IO: Final = Path("/proc/self/io")


def bytes_read() -> int | None:
    """Return how much this process has read so far; None where the kernel does not count.

    Of proc_pid_io(5) ``rchar`` counts what read(2) gave, also from the page cache, ``read_bytes`` what came from a
    disk, also into a mapped file. A mapped file that the page cache has already is seen by neither.
    """
    try:
        lines = dict(line.split(": ") for line in _IO.read_text().splitlines())
        return max(int(lines["rchar"]), int(lines["read_bytes"]))
    except (OSError, ValueError, KeyError):
        return None


class Load:
    """A model's way into memory."""

    def __init__(self, path: str, read: Callable[[], int | None] = bytes_read) -> None:
        """``path``: the model's file; empty for a model that came over the socket."""
        self._read = read
        self._size: int | None = None
        if path:
            with contextlib.suppress(OSError):
                self._size = os.stat(path).st_size
        self._before: int | None = None
        self._fraction: float | None = None

    def begin(self) -> None:
        """Note what was read before; called on the worker thread, just before the load."""
        self._before = self._read()

    def to_json(self, elapsed_ms: float, expected_ms: float | None) -> dict[str, Any]:
        """Return the progress after ``elapsed_ms``; ``expected_ms`` is how long this very model takes, if known.

        ``fraction`` is the time's where that is known, since reading is only a part of a load, and the bytes'
        otherwise. It is 1 at most and never falls; null where nothing is known.
        """
        now = None if self._before is None else self._read()
        read = None if now is None or self._before is None else max(0, now - self._before)
        if read is not None and self._size is not None:
            read = min(read, self._size)  # the process reads a little beside the model
        fraction = self._fraction
        if expected_ms:
            fraction = elapsed_ms / expected_ms
        elif read and self._size:
            fraction = read / self._size
        if fraction is not None:
            self._fraction = min(1.0, max(fraction, self._fraction or 0.0))
        return {
            "phase": "load",
            "bytes_read": read,
            "bytes": self._size,
            "fraction": None if self._fraction is None else round(self._fraction, 4),
            "expected_ms": None if expected_ms is None else round(expected_ms, 1),
        }


def of(job: Job, history: History, now: float) -> dict[str, Any] | None:
    """Return what the running ``job`` has done so far; None for a call that has no progress to show."""
    if job.load is not None:
        return job.load.to_json((now - job.started_at) * 1000, history.known(job.method, job.model_name))
    generation = generation_of(job)
    if generation is None:
        return None
    model = str(job.target.path)  # model_name is empty where this was not known before the job's turn
    first_at, expected = generation.first_token_at, history.known(estimates.FIRST_TOKEN, model)
    return {
        "phase": "prefill" if first_at is None else "generate",
        "tokens": generation.transcript.tokens,
        "max_new_tokens": generation.max_new_tokens if generation.max_new_tokens > 0 else None,
        "first_token_ms": None if first_at is None else round((first_at - generation.started_at) * 1000, 1),
        "expected_first_token_ms": None if expected is None else round(expected, 1),
    }


def waiting(npu: Npu, now: float) -> list[dict[str, Any]]:
    """Return the calls that wait for the NPU, the next one first."""
    jobs = list(npu.queue)
    waits = estimates.waits(npu.history, npu.queue.running, jobs, now)
    return [
        {
            "method": job.method,
            "client": describe_client(job.client),
            "priority": job.priority,
            "position": position,
            "queued_ms": elapsed_ms(job.queued_at, now),
            # Null until such a call has been seen.
            "estimated_wait_ms": wait,
        }
        for position, (job, wait) in enumerate(zip(jobs, waits, strict=True))
    ]


def place(npu: Npu, job: Job, now: float) -> dict[str, Any]:
    """Return the position of one of them, and its wait; a job that does not wait is served at once."""
    jobs = list(npu.queue)
    waits = estimates.waits(npu.history, npu.queue.running, jobs, now)
    position = next((index for index, item in enumerate(jobs) if item is job), None)
    if position is None:
        return {"position": 0, "estimated_wait_ms": 0.0}
    return {"position": position, "estimated_wait_ms": waits[position]}


def elapsed_ms(since: float, now: float) -> float:
    """Return the milliseconds between two times of the monotonic clock."""
    return round((now - since) * 1000, 1)


def describe_client(client: Any) -> str | None:
    """Return who has made a call, or None for the daemon itself."""
    return client.describe() if client is not None else None


def generation_of(job: Job) -> Generation | None:
    """Return the generation that the running ``job`` is, if it is one."""
    target = job.target
    return target.generation if isinstance(target, Model) else None
