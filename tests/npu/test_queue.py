"""Whose turn it is: round robin over clients, priorities; how many may wait, and which models they will use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.errors import QueueFull
from rkllmd.npu.job import UNRESOLVED, Job
from rkllmd.npu.queue import CHANGE_SECONDS, Limits, Queue
from tests.npu.jobs import job


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


def swapping(*names: str) -> Queue:
    """Return a queue of one job of each client; those for the model B displace A, which is loaded."""
    jobs = [job(name, name, target=name[0], displaces=["A"] if name[0] == "B" else []) for name in names]
    return filled(*jobs)


def test_calls_go_before_one_that_displaces_a_model_that_others_wait_for() -> None:
    queue = swapping("B1", "A1", "C1", "B2", "A2", "C2")
    order = [item.method for item in queue]
    assert order == served(queue) == ["A1", "C1", "A2", "B1", "B2", "C2"]


def test_who_displaces_a_model_that_nobody_waits_for_has_its_turn() -> None:
    assert served(swapping("B1", "C1", "B2")) == ["B1", "C1", "B2"]


def test_the_order_asks_once_for_each_model_what_it_displaces() -> None:
    queue, asked = swapping("B1", "B2", "A1", "A2", "C1", "C2"), list[object]()
    for item in queue.waiting():
        displaced: list[object] = ["A"] if item.target == "B" else []

        def displaces(target: object = item.target, displaced: list[object] = displaced) -> list[object]:
            asked.append(target)
            return displaced

        item.displaces = displaces
    assert [item.method for item in queue] == ["A1", "A2", "B1", "B2", "C1", "C2"]
    assert sorted(map(str, asked)) == ["A", "B", "C"]


class Memory:
    """Has room for one model."""

    def __init__(self) -> None:
        self.model = 0

    def job(self, name: str, client: int, model: int, priority: str) -> Job:
        """Return a job for a model, which displaces the other one."""
        made = job(name, client, target=model, priority=priority)
        made.displaces = lambda: [] if self.model == model else [self.model]
        return made

    def finish(self, queue: Queue, running: Job) -> None:
        """Let a job have loaded its model, and ended."""
        self.model = int(str(running.target))
        queue.finished(running)


CALLS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1), st.sampled_from(["normal", "low"])), min_size=1)


@given(CALLS, st.integers(0, 9))
def test_the_order_that_is_shown_foresees_changes_of_models(calls: list[tuple[int, int, str]], position: int) -> None:
    memory = Memory()
    queue = filled(*(memory.job(str(number), *call) for number, call in enumerate(calls)))
    shown = [item.method for item in queue]
    order: list[str] = []
    while (first := queue.first()) is not None:
        running = queue.next()
        assert running is first
        order.append(first.method)
        if len(order) == position:
            assert order + [item.method for item in queue] == shown, "its model is not loaded yet"
        memory.finish(queue, first)
    assert order == shown


def test_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = swapping("B1", "A1", "A2", "A3")
    clock = 1000.0
    monkeypatch.setattr("rkllmd.npu.queue.time.monotonic", lambda: clock)
    order = []
    while (found := queue.next()) is not None:
        order.append(found.method)
        queue.finished(found)
        clock += CHANGE_SECONDS * 0.75
    assert order == ["A1", "A2", "B1", "A3"], "it has waited since its turn came"


def test_not_those_of_a_lower_level_nor_those_behind_another_call_of_their_client() -> None:
    queue = swapping("B1")
    queue.add(job("A low", "low", target="A", priority="low"))
    queue.add(job("C first", "both", target="C"))
    queue.add(job("A behind", "both", target="A"))
    queue.add(job("own", None, target="A"))
    assert served(queue) == ["own", "B1", "C first", "A behind", "A low"]


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
