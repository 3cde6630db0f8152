"""Whose turn it is where models change, and whether the order and the waits that are shown are those that come true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.npu.job import UNRESOLVED, Arrival, Job
from rkllmd.npu.queue import Queue
from rkllmd.npu.turns import CHANGE_SECONDS
from tests.npu.jobs import filled, job, served


def swapping(*names: str) -> Queue:
    """Return a queue of one job of each client; those for the model B displace A, which is loaded."""
    return filled(*(job(name, name, target=name[0], displaces=["A"] if name[0] == "B" else None) for name in names))


def test_calls_go_before_one_that_displaces_a_model_that_others_wait_for() -> None:
    queue = swapping("B1", "A1", "C1", "B2", "A2", "C2")
    order = [item.method for item in queue]
    assert order == served(queue) == ["A1", "C1", "A2", "B1", "B2", "C2"]


def test_who_displaces_a_model_that_nobody_waits_for_has_its_turn() -> None:
    assert served(swapping("B1", "C1", "B2")) == ["B1", "C1", "B2"]


def load(name: str, client: object, model: str, *, displaces: list[object] | None) -> Job:
    """Return a job like rkllm.init, which is for no model yet."""
    made = job(name, client, changes={"llm"})
    made.arrives = lambda: Arrival(model, displaces)
    return made


def test_a_load_lets_calls_for_the_model_go_first_that_leaves_for_it() -> None:
    queue = filled(load("load", "l", "B", displaces=["A"]), job("A1", "a", target="A"), job("B1", "b", target="B"))
    order = [item.method for item in queue]
    assert order == served(queue) == ["A1", "load", "B1"]


def test_a_load_that_changes_nothing_has_its_turn() -> None:
    waiting = job("A1", "a", target="A")
    assert served(filled(load("loaded already", "l", "B", displaces=None), waiting)) == ["loaded already", "A1"]
    waiting = job("A1", "a", target="A")
    assert served(filled(load("has room", "l", "B", displaces=[]), waiting)) == ["has room", "A1"]


def test_a_call_that_means_the_model_that_is_there_then_does_not_go_before_its_load() -> None:
    first, second = load("load", "l", "B", displaces=["A"]), job("any", "x", target=UNRESOLVED)
    assert served(filled(first, second, job("A1", "a", target="A"))) == ["A1", "load", "any"]


def test_of_two_loads_of_a_model_the_second_is_foreseen_to_take_no_time() -> None:
    queue = filled(load("one", "1", "B", displaces=["A"]), load("two", "2", "B", displaces=["A"]), job("x", "3"))
    shown = queue.foreseen(0.0, 0.0, lambda item, loads: 1000.0 if loads else 0.0)
    assert [(item.method, wait) for item, wait in shown] == [("one", 0.0), ("two", 1000.0), ("x", 1000.0)]


def test_the_order_asks_once_for_each_model_what_it_displaces() -> None:
    queue, asked = swapping("B1", "B2", "A1", "A2", "C1", "C2"), list[object]()
    for item in queue.waiting():
        displaced: list[object] | None = ["A"] if item.target == "B" else None

        def arrives(target: object = item.target, displaced: list[object] | None = displaced) -> Arrival:
            asked.append(target)
            return Arrival(target, displaced)

        item.arrives = arrives
    assert [item.method for item in queue] == ["A1", "A2", "B1", "B2", "C1", "C2"]
    assert sorted(map(str, asked)) == ["A", "B", "C"]


class Machine:
    """Has room for one model, and a clock on which calls take their time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.model = 0
        self.seconds: dict[Job, float] = {}

    def job(self, name: str, client: int, model: int, priority: str, seconds: float) -> Job:
        """Return a job for a model, which displaces the other one, and takes this long without its load."""
        made = job(name, client, target=model, priority=priority)
        made.arrives = lambda: Arrival(model, None if self.model == model else [self.model])
        self.seconds[made] = seconds
        return made

    def lasts(self, job: Job, loads: bool) -> float:
        """Return how many milliseconds it takes."""
        return (self.seconds[job] + (CHANGE_SECONDS / 4 if loads else 0.0)) * 1000

    def serve(self, queue: Queue, running: Job) -> None:
        """Let the job that has its turn have loaded its model, and ended."""
        self.now += self.lasts(running, self.model != running.target) / 1000
        self.model = int(str(running.target))
        queue.finished(running)


CALLS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 1),
        st.sampled_from(["normal", "low"]),
        st.sampled_from([0.0, CHANGE_SECONDS / 3, CHANGE_SECONDS * 1.5]),
    ),
    min_size=1,
)


@given(CALLS, st.integers(0, 9))
def test_the_order_and_the_waits_that_are_shown_come_true(
    calls: list[tuple[int, int, str, float]], position: int
) -> None:
    machine = Machine()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rkllmd.npu.queue.time.monotonic", lambda: machine.now)
        queue = filled(*(machine.job(str(number), *call) for number, call in enumerate(calls)))
        began = machine.now
        shown = [(item.method, wait) for item, wait in queue.foreseen(began, 0.0, machine.lasts)]
        order: list[tuple[str, float]] = []
        while (first := queue.first()) is not None:
            running = queue.next()
            assert running is first
            order.append((first.method, round((machine.now - began) * 1000, 1)))
            if len(order) == position:
                lasts = machine.lasts(first, machine.model != first.target)
                behind = [item.method for item, _ in queue.foreseen(machine.now, lasts, machine.lasts)]
                assert [*(name for name, _ in order), *behind] == [name for name, _ in shown], "it is not loaded yet"
            machine.serve(queue, first)
    assert [name for name, _ in order] == [name for name, _ in shown]
    assert [wait for _, wait in order] == pytest.approx([wait for _, wait in shown], abs=0.2)


def test_where_a_time_is_not_known_nor_are_the_waits_behind_it() -> None:
    queue = swapping("C1", "C2", "C3")
    known = {"C1": 1000.0, "C3": 10.0}
    shown = queue.foreseen(0.0, 500.0, lambda item, loads: known.get(item.method))
    assert [wait for _, wait in shown] == [500.0, 1500.0, None]
    assert [wait for _, wait in queue.foreseen(0.0, None, lambda item, loads: 1.0)] == [None] * 3


def test_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = swapping("B1", "A1", "A2", "A3")
    clock = 1000.0
    monkeypatch.setattr("rkllmd.npu.queue.time.monotonic", lambda: clock)
    shown = queue.foreseen(clock, 0.0, lambda job, loads: CHANGE_SECONDS * 750)
    order = []
    while (found := queue.next()) is not None:
        order.append(found.method)
        queue.finished(found)
        clock += CHANGE_SECONDS * 0.75
    assert order == ["A1", "A2", "B1", "A3"], "it has waited since its turn came"
    assert [item.method for item, _ in shown] == order


def test_not_those_of_a_lower_level_nor_those_behind_another_call_of_their_client() -> None:
    queue = swapping("B1")
    queue.add(job("A low", "low", target="A", priority="low"))
    queue.add(job("C first", "both", target="C"))
    queue.add(job("A behind", "both", target="A"))
    queue.add(job("own", None, target="A"))
    assert served(queue) == ["own", "B1", "C first", "A behind", "A low"]
