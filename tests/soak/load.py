"""The clients, in a process of their own: threads that visit the daemon until they are told to stop."""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import Final

from tests.soak.guest import Gone, opened
from tests.soak.place import Company, Place, Visit
from tests.soak.visits import hostile, jobs, language, upkeep, vision

THREADS: Final = 8
# What is done how often.
VISITS: Final[tuple[tuple[int, Callable[[Visit], None]], ...]] = (
    (8, language.runs),
    (10, language.streams),
    (6, language.conversations),
    (4, language.hangups),
    (2, language.aborts),
    (3, language.batches),
    (2, language.watchers),
    (10, vision.pictures),
    (8, vision.descriptors),
    (4, vision.memories),
    (6, jobs.jobs),
    (3, upkeep.load_and_destroy),
    (2, upkeep.adapters),
    (4, upkeep.prompt_caches),
    (6, hostile.nonsense),
    (3, hostile.strange_descriptors),
    (1, hostile.storms),
    (1, hostile.deaf),
)
# How long a client stays away: two slow cores serve 8 that never rest with nothing to spare.
_PAUSE_SECONDS: Final = 0.05
# How long the last visits may take when all are to leave.
_LEAVE_SECONDS: Final = 300.0


class Load:
    """The process of the clients, seen from outside."""

    def __init__(self, place: Place, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop: Event = context.Event()
        self._told: multiprocessing.Queue[tuple[Counter[str], list[str]]] = context.Queue()
        self._requests: Synchronized[int] = context.Value("q", 0)
        arguments = (place, seed, self._stop, self._told, self._requests)
        self._process = context.Process(target=_visit_all, args=arguments, daemon=True)

    def begin(self) -> None:
        """Let them come."""
        self._process.start()

    @property
    def requests(self) -> int:
        """Return how many requests were sent so far."""
        return self._requests.value

    @property
    def has_failed(self) -> bool:
        """Return whether the process has ended or told something by itself, which it does only for a failure."""
        return not self._process.is_alive() or not self._told.empty()

    def end(self) -> tuple[Counter[str], list[str]]:
        """Let them finish; return what they counted, and what went wrong."""
        self._stop.set()
        try:
            return self._told.get(timeout=_LEAVE_SECONDS)
        except queue.Empty:
            return Counter(), ["the clients have not finished: somebody waits for an answer that does not come"]
        finally:
            self._process.join(10)
            self._process.kill()


def _visit_all(
    place: Place,
    seed: int,
    stop: Event,
    told: multiprocessing.Queue[tuple[Counter[str], list[str]]],
    requests: Synchronized[int],
) -> None:
    company, failures = Company(place), list[str]()
    threads = [
        threading.Thread(target=_visits, args=(company, seed + number, stop, failures), daemon=True)
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not failures:
        requests.value = company.counts["requests"]
        time.sleep(0.1)
    told.put((company.counts, failures))
    told.close()
    told.join_thread()
    os._exit(0)  # a thread may wait for an answer that does not come any more


def _visits(company: Company, seed: int, stop: Event, failures: list[str]) -> None:
    visit = Visit(company, random.Random(seed))
    weights = [weight for weight, _ in VISITS]
    while not stop.is_set() and not failures:
        _, act = visit.choice.choices(VISITS, weights)[0]
        company.count(f"visits: {act.__name__}")
        try:
            _survive(visit, act)
        except Exception:
            failures.append(f"{act.__name__}: {traceback.format_exc()}")
        time.sleep(visit.choice.random() * 2 * _PAUSE_SECONDS)


def _survive(visit: Visit, act: Callable[[Visit], None]) -> None:
    """Visit; a connection that ends is no failure if the daemon at its other end has ended."""
    try:
        act(visit)
        return
    except Gone as gone:
        before = gone.daemon
    visit.company.count("connections that a crash has ended")
    with opened(visit.company) as guest:
        assert guest.daemon != before, "the daemon closed the connection, and has not crashed"
