"""Who goes along with the job whose turn it is, and whom that may overtake."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.npu.job import Arrival, Job
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.together.along import PATIENCE_SECONDS, along
from tests.npu.jobs import alike, job

NOW = 1000.0


def waiting(name: str, client: str, *, key: str | None = "a", waited: float = 0.0, priority: str = "normal") -> Job:
    made = job(name, client, together=None if key is None else alike(key), priority=priority)
    made.queued_at = NOW - waited
    return made


def names(first: Job, *others: Job) -> list[str]:
    return [item.method for item in along(first, others, NOW)]


def test_those_of_the_same_key_go_along_up_to_the_places() -> None:
    others = [waiting(str(number), str(number)) for number in range(5)]
    assert names(waiting("first", "first"), *others) == ["0", "1", "2"]


def test_other_keys_and_other_calls_stay() -> None:
    first = waiting("first", "first")
    others = [waiting("b", "b", key="other"), waiting("c", "c"), waiting("d", "d", key=None), waiting("e", "e")]
    assert names(first, *others) == ["c", "e"]


def test_what_has_waited_for_long_is_not_overtaken() -> None:
    first = waiting("first", "first")
    late = waiting("late", "late", key=None, waited=PATIENCE_SECONDS + 0.1)
    assert names(first, waiting("before", "before"), late, waiting("behind", "behind")) == ["before"]


def test_the_calls_of_one_client_keep_their_order() -> None:
    first = waiting("first", "first")
    load, run = waiting("load", "a", key=None), waiting("run", "a")
    assert names(first, load, run, waiting("other", "b")) == ["other"]


def test_a_lower_priority_goes_along_only_if_nothing_above_stays() -> None:
    first, low = waiting("first", "first", priority="high"), waiting("low", "low", priority="low")
    assert names(first, low) == ["low"]
    assert names(first, waiting("other", "other", key=None), low) == []


def test_a_job_that_goes_with_nobody_is_alone() -> None:
    assert names(waiting("first", "first", key=None), waiting("other", "other")) == []


JOBS = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.sampled_from(["one", "two", None]),
        st.floats(0, 2 * PATIENCE_SECONDS),
        st.sampled_from(["high", "normal", "low"]),
    ),
    min_size=1,
    max_size=12,
)


def test_those_that_go_before_a_change_of_models_go_together() -> None:
    change = waiting("B", "B", key="b", waited=2 * PATIENCE_SECONDS)
    others = [waiting(name, name) for name in ("A1", "A2")]
    change.arrives = lambda: Arrival("B", ["A"])
    queue = Queue(Limits(100, 100, 100))
    for item in (change, *others):
        item.target = item.method[0]
        queue.add(item)
    first = queue.next()
    assert first is others[0]
    assert along(first, queue, NOW) == others[1:]


@given(JOBS)
def test_of_any_queue(made: list[tuple[str, str | None, float, str]]) -> None:
    queue = Queue(Limits(100, 100, 100))
    for number, (client, key, waited, priority) in enumerate(made):
        item = waiting(str(number), client, key=key, waited=waited, priority=priority)
        queue.add(item)
    first = queue.next()
    assert first is not None
    order = list(queue)
    found = along(first, order, NOW)
    assert len({*found}) == len(found) <= 3
    if first.together is None:
        assert found == []
    for item in found:
        assert item.together is not None
        assert first.together is not None
        assert item.together.key == first.together.key
        overtaken = [other for other in order[: order.index(item)] if other not in found]
        assert all(NOW - other.queued_at <= PATIENCE_SECONDS for other in overtaken)
        assert all(other.client != item.client for other in overtaken)
        assert all(other.priority == item.priority for other in overtaken)
    for item in found:
        queue.give_turn(item)
    assert [item for item in order if item not in found] == sorted(queue, key=order.index), (
        "the others wait on, none is lost"
    )
    assert len(queue) == len(order) - len(found)
