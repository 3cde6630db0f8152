"""Whose turn it is: round robin over clients, priorities, and how many may wait."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.errors import QueueFull
from rkllmd.npu.job import Job
from rkllmd.npu.queue import Limits, Queue


def nothing(*_: Any) -> None:
    pass


def job(name: str, client: object, *, priority: str = "normal", user: int | None = None) -> Job:
    return Job(name, nothing, nothing, client=client, priority=priority, user=user)


def served(queue: Queue) -> list[str]:
    """Return the names in the order in which the jobs are served."""
    names = []
    while (found := queue.next()) is not None:
        names.append(found.method)
        queue.finished(found)
    return names


def filled(*jobs: Job) -> Queue:
    queue = Queue(Limits(2000, 2000, 2000))
    for item in jobs:
        queue.add(item)
    return queue


def test_a_client_that_pipelines_waits_for_the_others_between_its_own() -> None:
    busy = [job(f"busy {number}", "busy") for number in range(3)]
    queue = filled(*busy, job("a", "a"), job("b", "b"))
    assert served(queue) == ["busy 0", "a", "b", "busy 1", "busy 2"]


def test_nine_wait_for_one_round_at_most_while_the_tenth_pipelines_a_thousand() -> None:
    queue = filled(*[job("busy", "busy") for _ in range(1000)])
    for number in range(9):
        queue.add(job(f"other {number}", number))
    first_round = [item.method for item in queue][:10]
    assert served(queue)[:10] == first_round
    assert sorted(first_round) == ["busy", *[f"other {number}" for number in range(9)]]


def test_who_comes_back_at_once_waits_behind_those_who_waited() -> None:
    queue = filled(job("a 1", "a"), job("b 1", "b"), job("b 2", "b"))
    first = queue.next()
    assert first is not None
    queue.add(job("a 2", "a"))
    queue.finished(first)
    assert served(queue) == ["b 1", "a 2", "b 2"]


def test_iteration_shows_the_order_of_service() -> None:
    queue = filled(*[job(f"{client}{number}", client) for client in "abc" for number in range(ord(client) - 95)])
    assert [item.method for item in queue] == served(queue)


def test_priorities() -> None:
    queue = filled(
        job("low", "l", priority="low"),
        job("normal", "n"),
        job("high", "h", priority="high"),
        job("clean up", None),
        job("low of a high one", "h", priority="low"),
    )
    assert served(queue) == ["clean up", "high", "normal", "low", "low of a high one"]


def test_the_queue_is_bounded_per_user() -> None:
    queue = Queue(Limits(10, 10, 2))
    queue.add(job("a", "a", user=1000))
    queue.add(job("b", "b", user=1000))
    with pytest.raises(QueueFull) as caught:
        queue.add(job("c", "c", user=1000), lambda: 1234)
    assert "This user" in caught.value.message
    assert caught.value.data == {"queued": 2, "limit": 2, "retry_after_ms": 1234}
    queue.add(job("d", "d", user=1001))


def test_a_dropped_job_leaves_no_turn_behind() -> None:
    gone = job("gone", "a")
    queue = filled(gone, job("b", "b"))
    assert queue.drop(gone)
    queue.add(job("a", "a"))
    assert served(queue) == ["b", "a"]


def test_the_first_that_is_wanted_is_taken_in_turn() -> None:
    queue = filled(job("rkllm", "a"), job("rknn 1", "a"), job("rknn 2", "b"), job("rknn 3", "c"))
    taken = queue.take(lambda item: item.method.startswith("rknn"))
    assert taken is not None
    assert (taken.method, taken.state) == ("rknn 2", "running"), "within a client nothing overtakes"
    assert queue.take(lambda item: item.method == "rknn 1") is None
    assert len(queue) == 3
