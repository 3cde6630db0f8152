"""What was promised: the jobs that a client has submitted, and what must have become of each."""

from __future__ import annotations

import contextlib
import random
import threading
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from tests.wire_connection import Wire, kind

# Of the jobs, this many may begin once more.
_RETRIED: Final = 0.25
# How long the client pauses between two jobs, at most: more than they take, or less.
_PAUSE_SECONDS: Final = 0.02
_BROKEN: Final = (BrokenPipeError, ConnectionError)


@dataclass(frozen=True)
class Job:
    """A job by the number in its prompt, by which C's trace knows it."""

    number: int
    retry: bool

    @property
    def prompt(self) -> str:
        """Return what it was given."""
        return f"job {self.number} and some words more"

    def must_fit(self, found: dict[str, Any], runs: int) -> str:
        """Look at what ``server.job`` says of one that has ended, and how often C was given it; return how it ended."""
        about = f"job {self.number}, given to C {runs} times: {found}"
        if found["status"] == "completed":
            result = found["result"]
            is_whole = result["finish_reason"] == "stop"
            text = f"[user] {self.prompt}"
            assert result["text"] == text if is_whole else text.startswith(result["text"]), about
            # One that the daemon has cut when it left may not have come to C yet.
            assert int(is_whole) <= runs <= 1 + self.retry, about
            return "completed" if is_whole else "cut by the end of the daemon"
        assert kind(found) == "Crashed", about
        begun = found["error"]["data"]["begun"]
        assert 1 <= begun <= 1 + self.retry, about
        assert runs <= begun, about
        return "crashed"


@dataclass
class Ledger:
    """All that was promised and not yet forgotten, by the jobs' ids."""

    promised: dict[str, Job] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def draw(self, choice: random.Random) -> Job:
        """Return the next job."""
        return Job(next(self._numbers), choice.random() < _RETRIED)


class Submitter:
    """A client that submits jobs as long as its connection lives, or until it is stopped."""

    def __init__(self, path: str, ledger: Ledger, seed: int) -> None:
        self.forgotten: set[str] = set()
        self.failure: Exception | None = None
        self._path = path
        self._ledger = ledger
        self._choice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._submit, daemon=True)

    def begin(self) -> None:
        """Submit from now on."""
        self._thread.start()

    def end(self) -> None:
        """Submit no more. Raises what went wrong."""
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _submit(self) -> None:
        try:
            with contextlib.suppress(*_BROKEN), Wire(self._path) as wire:
                while not self._stop.is_set():
                    if not self._submit_one(wire):
                        return
                    self._stop.wait(self._choice.random() * _PAUSE_SECONDS)
        except Exception as error:
            self.failure = error

    def _submit_one(self, wire: Wire) -> bool:
        """Submit a job; return whether the connection still lives."""
        job = self._ledger.draw(self._choice)
        inner = {"method": "rkllm.run", "params": {"prompt": job.prompt}, "retry": job.retry}
        answer = asked(wire, "server.submit", inner)
        if answer is None:
            return False
        assert kind(answer) in (None, "QueueFull", "ShuttingDown"), answer
        if kind(answer) is None:
            self._ledger.promised[answer["result"]["job"]] = job
        return kind(answer) != "ShuttingDown"

    def forget(self, wire: Wire, most: int) -> None:
        """Forget the oldest jobs that have ended, where more than ``most`` are promised."""
        for job in list(self._ledger.promised)[:-most]:
            found = asked(wire, "server.job", {"job": job})
            if found is None or found["result"]["status"] in ("queued", "processing"):
                return
            self.forgotten.add(job)
            if asked(wire, "server.job", {"job": job, "forget": True}) is not None:
                del self._ledger.promised[job]


def asked(wire: Wire, method: str, params: Any = None) -> dict[str, Any] | None:
    """Send a request and return its answer; None if the connection ends before."""
    try:
        wire.request(method, params)
    except _BROKEN:
        return None
    while (message := wire.receive()) is not None:
        if message.get("id") == 1:
            return dict(message)
    return None
