"""What is made of a keeper's report; on real daemons: tests/server/lifetime/test_crashes.py."""

from __future__ import annotations

import os
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from structlog.testing import capture_logs

from rkllmd.calls.crash_schema import CRASH
from rkllmd.keeper import journal, report
from rkllmd.keeper.report import Rest
from rkllmd.keeper.ties import REPLACE_ME
from rkllmd.service import crashes
from rkllmd.service.crashes import Crashes
from rkllmd.store.learned import last_crash
from rkllmd.store.store import Store

FACTS = {
    "at": 1_790_000_000.25,
    "monotonic": 100.0,
    "pid": 7,
    "end": "SIGSEGV",
    "signal": "SIGSEGV",
    "exit_status": None,
    "stuck": False,
    "out_of_memory": False,
    "uptime_s": 3.0,
    "crashes": 2,
}


def left(*calls: tuple[str, float, int, bool], printed: bytes = b"", stacks: bytes = b"", request: str = "1") -> Rest:
    """Return what a daemon has left: functions, since when, on which thread, on the event loop or not."""
    content = bytearray(journal.SIZE)
    for number, (function, since, thread, on_loop) in enumerate(calls):
        at = journal.place(number)
        asked = journal.asked("m", None, 0, request, "")
        body = journal.body(function, journal.model(0, "", "/m"), asked)
        journal.HEAD.pack_into(content, at, since, thread, on_loop, journal.VALID)
        content[at + journal.HEAD.size : at + journal.HEAD.size + len(body)] = body
    for at, piece in journal.pieces(0, printed):
        content[at : at + len(piece)] = piece
    journal.NUMBER.pack_into(content, journal.PRINTED, len(printed))
    return Rest(bytes(content), b"", stacks)


def guilty(rest: Rest, **facts: Any) -> str | None:
    call = crashes.describe({**FACTS, **facts}, rest)["call"]
    return None if call is None else str(call["function"])


def test_the_thread_that_got_the_signal_is_blamed() -> None:
    calls = ("rknn_run", 1.0, 0xAB, False), ("rkllm_abort", 2.0, 0xCD, True)
    stacks = (
        b"Fatal Python error: Aborted\n\nThread 0x%x (most recent\n\nCurrent thread 0x%x (most recent call first):\n"
    )
    assert guilty(left(*calls, stacks=stacks % (0xCD, 0xAB))) == "rknn_run"
    assert guilty(left(*calls, stacks=stacks % (0xAB, 0xCD))) == "rkllm_abort"
    assert guilty(left(*calls, stacks=stacks % (0xAB, 0xEF))) == "rkllm_abort", "a thread of C: the last that began"
    assert guilty(left(*calls)) == "rkllm_abort"
    assert guilty(left()) is None


def test_of_its_calls_the_innermost_one_is() -> None:
    rest = left(("rknn_run", 2.0, 1, False), ("rkllm_run", 1.0, 1, False), stacks=b"Current thread 0x1 (")
    crash = crashes.describe(FACTS, rest)
    assert crash["call"]["function"] == "rknn_run"
    assert [call["function"] for call in crash["beside"]] == ["rkllm_run"]


@pytest.mark.parametrize(
    ("exit_status", "stacks", "expected"),
    [
        (None, b"Current thread 0xef (", "rkllm_run_async"),
        (None, b"Current thread 0x1 (", "rkllm_is_running"),
        (3, b"", "rkllm_run_async"),
        (REPLACE_ME, b"", "rkllm_is_running"),
    ],
)
def test_a_thread_of_c_belongs_to_the_run_and_not_to_a_question_about_it(
    exit_status: int | None, stacks: bytes, expected: str
) -> None:
    calls = ("rkllm_run_async", 1.0, 1, False), ("rkllm_is_running", 2.0, 1, False)
    assert guilty(left(*calls, stacks=stacks), exit_status=exit_status) == expected
    assert guilty(left(calls[1], stacks=stacks), exit_status=exit_status) == "rkllm_is_running"


def test_what_tries_to_end_a_call_that_hangs_is_not_blamed_for_it() -> None:
    hangs, tries = ("rkllm_is_running", 2.0, 1, False), ("rkllm_abort", 99.9, 2, False)
    assert guilty(left(hangs, tries), exit_status=REPLACE_ME) == "rkllm_is_running"
    assert guilty(left(tries), exit_status=REPLACE_ME) == "rkllm_abort"


def test_where_the_event_loop_stood_still_it_is_the_loops_call() -> None:
    calls = ("rkllm_abort", 1.0, 1, True), ("rkllm_run", 2.0, 2, False)
    assert guilty(left(*calls), stuck=True) == "rkllm_abort"
    assert guilty(left(*calls), stuck=False) == "rkllm_run"
    assert guilty(left(calls[1]), stuck=True) is None, "it has stopped by itself"


def test_the_form() -> None:
    crash = crashes.describe(FACTS, left(("rkllm_run", 99.5, 1, False), printed=b"one\n\n  two  \n"))
    assert crash["at"] == "2026-09-21T14:13:20.250+00:00"
    assert crash["lines"] == ["one", "  two"]
    assert crash["call"] == {
        "method": "m",
        "function": "rkllm_run",
        "handle": None,
        "name": None,
        "model_path": "/m",
        "pid": None,
        "uid": 0,
        "request": 1,
        "job": None,
        "runs": 1,
        "elapsed_ms": 500.0,
        "thread": "npu",
    }


@pytest.mark.parametrize(("text", "expected"), [("", None), ("7", 7), ('"x"', "x"), ('"cut', '"cut')])
def test_the_id_of_a_request_is_what_it_was(text: str, expected: object) -> None:
    crash = crashes.describe(FACTS, left(("rkllm_run", 1.0, 1, False), request=text))
    assert crash["call"]["request"] == expected


def test_the_last_lines_are_so_many_and_no_longer() -> None:
    crash = crashes.describe(FACTS, left(printed=b"".join(b"%d\n" % number for number in range(100)) + b"y" * 5000))
    assert len(crash["lines"]) == 40
    assert crash["lines"][-2] == "99"
    assert crash["lines"][-1] == "y" * 1000


@pytest.mark.parametrize("rest", [left(), left(("rkllm_run", 1.0, 1, False), ("rkllm_abort", 2.0, 2, True))])
def test_it_is_as_the_schema_says(rest: Rest) -> None:
    Draft202012Validator(CRASH).validate(crashes.describe(FACTS, rest))


def test_without_a_keeper_there_are_none() -> None:
    assert crashes.read(-1) == []


def test_each_is_logged_once_and_the_last_one_is_remembered() -> None:
    reports = report.make()
    report.add(reports, FACTS, left())
    report.add(reports, {**FACTS, "end": "SIGABRT"}, left())
    known = Crashes(last_crash(Store()))
    with capture_logs() as logs:
        for crash in crashes.read(reports):
            known.take(crash)
    assert [(entry["event"], entry["end"]) for entry in logs] == [("crashed", "SIGSEGV"), ("crashed", "SIGABRT")]
    assert known.last == known.fresh == crashes.read(reports)[-1]
    os.close(reports)
