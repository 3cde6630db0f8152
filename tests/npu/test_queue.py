"""Round robin over clients, priorities; how many may wait, and which models they will use."""

from __future__ import annotations

import pytest

from rkllmd.errors import QueueFull
from rkllmd.npu.job import UNRESOLVED
from rkllmd.npu.queue import Limits, Queue
from tests.npu.jobs import filled, job, served


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
    about = {"setting": "max_calls_per_user", "limit": 2, "used": 2, "whose": "user"}
    assert caught.value.data == {"queued": 2, "retry_after_ms": 1234, **about}
    queue.add(job("d", "d", user=1001))


def test_some_places_are_for_operators_who_have_no_limit_of_a_user() -> None:
    queue = Queue(Limits(4, 10, 2, 1, lambda user: user == 0))
    for user in (1000, 1000, 1001):
        queue.add(job(client=object(), user=user))
    with pytest.raises(QueueFull) as caught:
        queue.add(job(client=object(), user=1002))
    assert (caught.value.data["whose"], caught.value.data["limit"]) == ("all", 3)
    queue.add(job(client=object(), user=0))
    with pytest.raises(QueueFull):
        queue.add(job(client=object(), user=0))


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


def test_first_in_first_out_one_at_a_time() -> None:
    queue = Queue(Limits(10, 10, 100))
    assert queue.next() is None
    first, second = job("first"), job("second")
    queue.add(first)
    queue.add(second)
    assert [item.method for item in queue] == ["first", "second"]
    assert (len(queue), first.state) == (2, "queued")
    assert queue.next() is first
    assert (queue.running, first.state, len(queue)) == (first, "running", 1)
    assert queue.next() is None, "one runs"
    queue.finished(first)
    assert (queue.running, first.state) == (None, "finished")
    assert queue.next() is second


def test_the_queue_is_bounded_in_all() -> None:
    queue = Queue(Limits(2, 10, 100))
    queue.add(job(client="a"))
    assert queue.next() is not None
    queue.add(job(client="a"))
    queue.add(job(client="b"))  # the running one does not wait, so it does not count
    late = job(client="c")
    with pytest.raises(QueueFull) as caught:
        queue.add(late)
    about = {"setting": "max_queue", "limit": 2, "used": 2, "whose": "all"}
    assert caught.value.data == {"queued": 2, "retry_after_ms": 1000, **about}
    assert (len(queue), late.state) == (2, "new")


def test_the_queue_is_bounded_per_client() -> None:
    queue = Queue(Limits(10, 2, 100))
    ours, theirs = object(), object()
    queue.add(job(client=ours))
    queue.add(job(client=ours))
    with pytest.raises(QueueFull) as caught:
        queue.add(job(client=ours))
    assert caught.value.data["limit"] == 2
    assert "This connection" in caught.value.message
    queue.add(job(client=theirs))
    for _ in range(3):
        queue.add(job())  # the daemon's own belong to no client
    assert len(queue) == 6


def test_only_what_waits_can_be_dropped() -> None:
    queue = Queue(Limits(10, 10, 100))
    first, second, never = job(), job(), job()
    queue.add(first)
    queue.add(second)
    queue.next()
    assert not queue.drop(first)
    assert not queue.drop(never)
    assert queue.drop(second)
    assert second.state == "finished"
    assert not queue.drop(second)
    assert list(queue) == []


def test_which_model_is_in_use() -> None:
    queue = Queue(Limits(10, 10, 100))
    running, waiting, idle = object(), object(), object()
    queue.add(job(target=running))
    queue.add(job(target=waiting))
    assert queue.uses(running)
    queue.next()
    assert [queue.uses(model) for model in (running, waiting, idle)] == [True, True, False]
    assert [queue.runs_on(model) for model in (running, waiting, idle)] == [True, False, False]


def test_a_job_whose_model_is_not_known_yet_may_use_any() -> None:
    queue = Queue(Limits(10, 10, 100))
    queue.add(job(target=UNRESOLVED))
    model = object()
    assert queue.uses(model)
    assert not queue.runs_on(model)
    queue.next()
    assert queue.runs_on(model)


def test_whether_the_loaded_models_are_about_to_change() -> None:
    queue = Queue(Limits(10, 10, 100))
    queue.add(job())
    assert not queue.changes({"llm"})
    load = job(changes={"llm"})
    queue.add(load)
    assert queue.changes({"llm"})
    queue.finished(queue.next() or job())
    assert queue.next() is load
    assert queue.changes({"llm"}), "while it runs too"
    queue.finished(load)
    assert not queue.changes({"llm"})


def test_what_changes_matters_to_handles_of_its_kind_only() -> None:
    queue = Queue(Limits(10, 10, 100))
    queue.add(job(changes={"context", "memory"}))
    for _ in ("waits", "runs"):
        assert [queue.changes({kind}) for kind in ("llm", "context", "matmul", "memory")] == [False, True, False, True]
        assert queue.changes(("matmul", "context"))
        assert not queue.changes(())
        queue.next()


def test_the_daemons_own_jobs_are_never_refused() -> None:
    """They give back what clients left behind."""
    queue = Queue(Limits(1, 1, 100))
    queue.add(job(client="a"))
    queue.add(job())
    queue.add(job())
    assert len(queue) == 3
    with pytest.raises(QueueFull) as caught:
        queue.add(job(client="b"))
    assert caught.value.data["queued"] == 3
