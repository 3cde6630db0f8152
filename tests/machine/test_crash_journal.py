"""What the daemon writes into its crash journal, as the keeper would read it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.keeper import journal
from rkllmd.machine.crash_journal import Asked, CrashJournal


class Both:
    """A journal with its memory."""

    def __init__(self) -> None:
        self.descriptor = journal.make()
        self.journal = CrashJournal(self.descriptor)

    def content(self) -> bytes:
        """Return what the keeper sees."""
        return os.pread(self.descriptor, journal.SIZE, 0)

    def calls(self, *names: str) -> list[tuple[Any, ...]]:
        """Return these members of each call."""
        return [tuple(call[name] for name in names) for call in journal.calls(self.content())]


@pytest.fixture
def both() -> Iterator[Both]:
    made = Both()
    yield made
    os.close(made.descriptor)


MODEL = SimpleNamespace(number=3, name="qwen", path="/m/qwen.rkllm")
OTHER = SimpleNamespace(number=4, name=None, path="/m/other.rkllm")
ASKED = Asked("rkllm.run", MODEL, "", 812, 1000, "17", "j0b")


def test_a_call_is_there_as_long_as_it_lasts(both: Both) -> None:
    with both.journal.working(lambda: ASKED):
        assert both.calls() == []
        with both.journal.calling("rkllm_run"):
            (call,) = journal.calls(both.content())
            assert {**call, "since": 0, "thread": 0} == {
                "since": 0,
                "thread": 0,
                "on_loop": True,
                "function": "rkllm_run",
                "handle": 3,
                "name": "qwen",
                "path": "/m/qwen.rkllm",
                "pid": 812,
                "user": 1000,
                "runs": 1,
                "method": "rkllm.run",
                "request": "17",
                "job": "j0b",
            }
            assert call["thread"] == threading.get_ident()
        assert both.calls() == []


def test_who_is_asked_only_if_c_is_called_and_only_once(both: Both) -> None:
    asked: list[int] = []

    def ask() -> Asked:
        asked.append(1)
        return ASKED

    with both.journal.working(ask):
        assert not asked
        for function in ("rkllm_run", "rkllm_run", "rkllm_abort"):
            both.journal.leave(both.journal.enter(function))
    assert len(asked) == 1


def test_a_call_on_another_model_says_so_and_the_next_one_does_not(both: Both) -> None:
    with both.journal.working(lambda: ASKED):
        for on, expected in ((None, 3), (OTHER, 4), (None, 3), (MODEL, 3), (OTHER, 4)):
            with both.journal.calling("rkllm_destroy", on):
                assert both.calls("handle", "method") == [(expected, "rkllm.run")]


def test_a_load_has_a_path_before_it_has_a_model(both: Both) -> None:
    with both.journal.working(lambda: Asked("rkllm.init", path="/m/new.rkllm")), both.journal.calling("rkllm_init"):
        assert both.calls("handle", "path") == [(0, "/m/new.rkllm")]


def test_calls_that_nobody_has_asked_for_are_there_too(both: Both) -> None:
    with both.journal.calling("rknn_destroy", OTHER):
        assert both.calls("function", "method", "handle", "pid") == [("rknn_destroy", "", 4, -1)]


def test_nested_work_stands_beside_the_outer_one_and_gives_way_to_it(both: Both) -> None:
    """A call of RKNN between two tokens of a run."""
    with both.journal.working(lambda: ASKED), both.journal.calling("rkllm_run"):
        with both.journal.working(lambda: Asked("rknn.run", OTHER)), both.journal.calling("rknn_run"):
            assert both.calls("function", "method") == [("rkllm_run", "rkllm.run"), ("rknn_run", "rknn.run")]
        with both.journal.calling("rkllm_is_running"):
            assert both.calls("method")[-1] == ("rkllm.run",)
    assert both.journal._work == {}, "nothing that a client has sent stays"


def test_other_threads_are_not_the_event_loop(both: Both) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        with both.journal.working(lambda: ASKED), both.journal.calling("rkllm_run"):
            begun.set()
            ended.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(60)
    try:
        assert both.calls("on_loop") == [(False,)]
        assert journal.is_in_long_call(both.descriptor)
        with both.journal.calling("rkllm_abort"):
            assert not journal.is_in_long_call(both.descriptor)
    finally:
        ended.set()
        thread.join()


def test_more_calls_at_once_than_there_is_room_for_are_made_all_the_same(both: Both) -> None:
    numbers = [both.journal.enter("rknn_run") for _ in range(journal.RECORDS + 3)]
    assert len(both.calls()) == journal.RECORDS
    for number in numbers:
        both.journal.leave(number)
    assert both.calls() == []
    with both.journal.calling("rknn_run"):
        assert len(both.calls()) == 1


def test_a_call_that_raises_has_returned(both: Both) -> None:
    with pytest.raises(ValueError, match="x"), both.journal.calling("rknn_run"):
        raise ValueError("x")
    assert both.calls() == []


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_c_prints_is_there_and_how_much_of_it_is_logged(both: Both, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"one\ntwo")
    assert both.journal.read(reader) == b"one\ntwo"
    both.journal.logged(3)
    assert journal.output(both.content()) == (b"one\ntwo", 3)
    os.write(writer, b"x" * journal.OUTPUT_BYTES)
    for _ in range(journal.OUTPUT_BYTES // journal.ARRIVAL_BYTES):
        both.journal.read(reader)
    both.journal.logged(0)
    assert journal.output(both.content()) == (b"x" * journal.OUTPUT_BYTES, 0)


def test_what_has_left_the_pipe_is_there_at_once(
    both: Both, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    os.write(writer, b"a first line\n")
    both.journal.read(reader)
    both.journal.logged(0)
    os.write(writer, b"last words\n")
    with monkeypatch.context() as patched:
        patched.setattr(CrashJournal, "_keep", lambda self, data: sys.exit("it dies here"))
        with pytest.raises(SystemExit):
            both.journal.read(reader)
    assert journal.output(both.content()) == (b"a first line\nlast words\n", 11)


def test_beats_are_counted(both: Both) -> None:
    both.journal.beat()
    both.journal.beat()
    assert journal.beats(both.descriptor) == 2
