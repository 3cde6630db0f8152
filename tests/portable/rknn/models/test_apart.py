"""Loads on threads of their own, which are left alone if they do not stop; and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rkllmd.interruption import Interruption, obeying
from rkllmd.portable.rknn.models import apart, session
from tests.portable.rknn import graphs
from tests.portable.rknn.client import FAIL, init
from tests.portable.rknn.conftest import Line


@pytest.fixture
def stubborn() -> Iterator[threading.Event]:
    """Return what ends work that does not stop."""
    end = threading.Event()
    yield end
    end.set()


def set_after(entered: threading.Event, interruption: Interruption) -> None:
    """Interrupt once something is entered."""

    def interrupt() -> None:
        entered.wait()
        interruption.set()

    threading.Thread(target=interrupt).start()


def test_a_load_that_does_not_end_is_left_alone(
    line: Line, stubborn: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_LOAD_PATIENCE_SECONDS", 0.01)
    entered, interruption = threading.Event(), Interruption()
    opened = session.engine().InferenceSession
    ended = threading.Event()

    class Slow:
        def __new__(cls, path: str, *arguments: Any, **options: Any) -> Any:
            entered.set()
            stubborn.wait()
            made = opened(path, *arguments, **options)  # its file must still be there
            ended.set()
            return made

    monkeypatch.setattr(session.engine(), "InferenceSession", Slow)
    set_after(entered, interruption)
    with obeying(interruption):
        assert init(graphs.floats()) == (FAIL, 0)
    assert "the load was interrupted" in line()
    stubborn.set()
    assert ended.wait(60)


def test_a_load_that_fails_says_so_on_a_thread_of_its_own_too(line: Line) -> None:
    with obeying(Interruption()):
        assert init(b"no model at all")[1] == 0
    assert "ONNX Runtime refuses the model" in line()


def test_work_that_nobody_can_interrupt_is_done_where_it_is() -> None:
    assert apart.load(threading.get_ident) == threading.get_ident()
    with obeying(Interruption()):
        assert apart.load(threading.get_ident) != threading.get_ident()


def test_a_thread_does_one_piece_of_work_after_another() -> None:
    done: list[int] = []
    for _ in range(3):
        ended = threading.Event()

        def work(ended: threading.Event = ended) -> None:
            done.append(threading.get_ident())
            ended.set()

        apart.start(work)
        assert ended.wait(60)
        while not apart._idle:
            pass
    assert len(set(done)) <= 2, "started once, but for threads that other tests have left"


def test_whoever_waits_is_told_of_the_end_of_the_stop_and_of_its_own_interruption() -> None:
    ended, stopped, other = apart.Completion(), apart.Completion(), apart.Completion()
    ended.end()
    assert ended.wait(None, 0.0)
    stopped.stop()
    assert not stopped.wait(None, 0.0), "it has no patience"
    assert not other.wait(0.0, 0.0), "its time is over"
    interruption = Interruption()
    interruption.set()
    with obeying(interruption):
        assert not other.wait(None, 0.0)


def test_work_that_is_asked_to_stop_has_time_to_do_so() -> None:
    completion = apart.Completion()
    completion.stop()
    thread = threading.Thread(target=completion.end)
    thread.start()
    assert completion.wait(None, 60.0)
    thread.join()
