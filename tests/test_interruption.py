"""Who obeys what, and who is told when."""

from __future__ import annotations

import threading

import pytest

from rkllmd.interruption import Interruption, current, is_interrupted, obeying


def test_who_listens_is_told_once_also_if_it_comes_late() -> None:
    interruption = Interruption()
    told: list[str] = []
    interruption.listen(lambda: told.append("before"))
    forgotten: list[str] = []
    interruption.listen(forgotten.clear)
    interruption.forget(forgotten.clear)
    forgotten.append("still there")
    interruption.set()
    interruption.set()
    interruption.listen(lambda: told.append("after"))
    assert (told, forgotten) == (["before", "after"], ["still there"])


def test_a_call_within_a_call_obeys_its_own_interruption() -> None:
    outer, inner = Interruption(), Interruption()
    with obeying(outer):
        with obeying(inner):
            inner.set()
            assert is_interrupted()
        assert current() is outer
        assert not is_interrupted()
    assert current() is None


def test_each_thread_obeys_its_own() -> None:
    interruption = Interruption()
    seen: list[Interruption | None] = []
    with obeying(interruption):
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() is interruption
    assert seen == [None]


def test_what_is_obeyed_ends_with_an_exception_too() -> None:
    with pytest.raises(ZeroDivisionError), obeying(Interruption()):
        _ = 1 / 0
    assert current() is None
    assert not is_interrupted()


def test_a_listener_may_forget_itself_or_what_never_listened() -> None:
    interruption = Interruption()
    interruption.forget(print)

    def forgets() -> None:
        interruption.forget(forgets)

    interruption.listen(forgets)
    interruption.set()
    assert interruption.is_set
