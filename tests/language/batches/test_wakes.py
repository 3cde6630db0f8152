"""One wake of the event loop for all the lanes of a batch, and none that is missed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rkllmd.language.batches.wakes import SharedWake
from tests.language.generation.generations import Loop


def noting(done: list[int], number: int) -> Callable[[], None]:
    return lambda: done.append(number)


def test_what_is_scheduled_during_a_callback_wakes_the_loop_once_at_its_end() -> None:
    loop, done = Loop(), list[int]()
    wakes = SharedWake(loop.wake)
    wakes.hold()
    for number in range(3):
        wakes.soon(noting(done, number))
    assert loop.wakes == 0
    wakes.let_go()
    assert loop.wakes == 1
    loop.run()
    assert done == [0, 1, 2]


def test_a_callback_with_nothing_for_the_loop_wakes_nobody() -> None:
    loop = Loop()
    wakes = SharedWake(loop.wake)
    wakes.hold()
    wakes.let_go()
    assert loop.wakes == 0


def test_what_is_scheduled_by_the_loop_itself_is_done_in_the_same_turn_once() -> None:
    """Then others have theirs."""
    loop, done = Loop(), list[int]()
    wakes = SharedWake(loop.wake)

    def again() -> None:
        done.append(len(done))
        wakes.soon(again)

    wakes.soon(again)
    loop.turn()
    assert (done, loop.wakes) == ([0, 1], 2)
    loop.turn()
    assert (done, loop.wakes) == ([0, 1, 2, 3], 3)


def test_what_is_left_over_while_a_callback_goes_on_waits_for_its_end() -> None:
    loop, done = Loop(), list[int]()
    wakes = SharedWake(loop.wake)

    def call_back() -> None:
        wakes.hold()
        wakes.soon(lambda: wakes.soon(noting(done, 1)))

    wakes.soon(call_back)
    loop.turn()
    assert (done, loop.wakes) == ([], 1)
    wakes.let_go()
    assert loop.wakes == 2
    loop.run()
    assert done == [1]


def test_none_is_missed_while_both_threads_schedule() -> None:
    """The loop schedules in the middle of callbacks, as a drained lane does."""
    loop, done = Loop(), list[int]()
    pending = threading.Semaphore(0)

    def wake(function: Callable[[], None]) -> None:
        loop.scheduled.append(function)
        pending.release()

    wakes = SharedWake(wake)

    def call_back() -> None:
        for number in range(3000):
            wakes.hold()
            wakes.soon(noting(done, number))
            wakes.soon(lambda: wakes.soon(noting(done, -1)))
            wakes.let_go()

    thread = threading.Thread(target=call_back)
    thread.start()
    while len(done) < 6000:
        assert pending.acquire(timeout=60), f"{len(done)} were done, and nobody wakes the loop any more"
        loop.scheduled.pop(0)()
    thread.join()
    assert [number for number in done if number >= 0] == list(range(3000))
