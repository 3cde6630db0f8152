"""What one daemon leaves and the next one reads."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from rkllmd.keeper import journal, kills, report, spawn
from rkllmd.keeper.report import Rest
from rkllmd.keeper.spawn import Child
from rkllmd.keeper.ties import Ties


@pytest.fixture
def reports() -> Iterator[int]:
    descriptor = report.make()
    yield descriptor
    os.close(descriptor)


def read(reports: int) -> list[tuple[object, bytes, bytes, bytes]]:
    return [(json.loads(facts), rest.journal, rest.printed, rest.stacks) for facts, rest in report.read(reports)]


def test_reports_are_read_in_their_order_until_they_are_forgotten(reports: int) -> None:
    assert read(reports) == []
    report.add(reports, {"end": "SIGSEGV", "pid": 7}, Rest(b"j", b"printed", b"stacks"))
    report.add(reports, {"end": None}, Rest(b"", b"", b""))
    expected = [({"end": "SIGSEGV", "pid": 7}, b"j", b"printed", b"stacks"), ({"end": None}, b"", b"", b"")]
    assert read(reports) == expected
    assert read(reports) == expected, "reading does not forget"
    report.forget(reports)
    assert read(reports) == []


def test_there_are_never_too_many_and_the_last_one_is_there(reports: int) -> None:
    for number in range(40):
        report.add(reports, {"number": number}, Rest(bytes(journal.SIZE), b"p" * 100_000, b"s"))
    found = read(reports)
    assert found[-1][0] == {"number": 39}
    assert os.fstat(reports).st_size <= 2**20
    assert {len(printed) for _, _, printed, _ in found} == {65_536}


def test_a_torn_report_is_none(reports: int) -> None:
    report.add(reports, {"n": 1}, Rest(b"a", b"b", b"c"))
    whole = os.fstat(reports).st_size
    report.add(reports, {"n": 2}, Rest(b"a", b"b", b"c"))
    for size in range(whole, os.fstat(reports).st_size):
        os.ftruncate(reports, size)
        assert [facts for facts, *_ in read(reports)] == [{"n": 1}]
        report.forget(reports)
        report.add(reports, {"n": 1}, Rest(b"a", b"b", b"c"))
        report.add(reports, {"n": 2}, Rest(b"a", b"b", b"c"))


def test_what_is_in_no_log_yet_is_said_once() -> None:
    content = bytearray(journal.SIZE)
    for at, piece in journal.pieces(0, b"logged\nread"):
        content[at : at + len(piece)] = piece
    journal.NUMBER.pack_into(content, journal.PRINTED, 11)
    journal.NUMBER.pack_into(content, journal.LOGGED, 7)
    assert report.unlogged(Rest(bytes(content), b" and not", b"Fatal")) == b"read and not\nFatal\n"
    assert report.unlogged(Rest(bytes(journal.SIZE), b"", b"Fatal\n")) == b"Fatal\n"


@pytest.fixture
def child() -> Iterator[Child]:
    made = spawn.start(("/bin/true",), dict(os.environ), Ties(), ignores_hangup=False)
    os.waitpid(made.pid, 0)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("code", "is_stuck", "more", "expected"),
    [
        (-signal.SIGKILL, False, 1, ("SIGKILL", "SIGKILL", None, True)),
        (-signal.SIGKILL, False, 0, ("SIGKILL", "SIGKILL", None, False)),
        (-signal.SIGKILL, True, 1, ("SIGKILL", "SIGKILL", None, False)),
        (-signal.SIGSEGV, False, 1, ("SIGSEGV", "SIGSEGV", None, False)),
        (3, False, 1, ("exit status 3", None, 3, False)),
    ],
)
def test_how_it_ended(
    child: Child,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    is_stuck: bool,
    more: int,
    expected: tuple[str, str | None, int | None, bool],
) -> None:
    """Only who was killed, and not by the keeper, may have been so for want of memory."""
    monkeypatch.setattr(kills, "count", lambda: child.kills + more)
    child.is_stuck = is_stuck
    facts = report.facts_of(child, code, 4)
    assert tuple(facts[name] for name in ("end", "signal", "exit_status", "out_of_memory")) == expected
    assert (facts["crashes"], facts["stuck"], facts["pid"]) == (4, is_stuck, child.pid)


ABORTED = b"Fatal Python error: Aborted\n\nThread 0x00007f3ae153c6c0 (most recent call first):\n  File "


@pytest.mark.parametrize(
    ("code", "stacks", "expected"),
    [
        (-signal.SIGABRT, ABORTED, -signal.SIGABRT),
        (-signal.SIGSEGV, ABORTED + b"Fatal Python error: Segmentation fault\n\n", -signal.SIGABRT),
        (-signal.SIGSEGV, b"Fatal Python error: Bus error\n\n", -signal.SIGBUS),
        (-signal.SIGSEGV, b"Fatal Python error: something else\n", -signal.SIGSEGV),
        (-signal.SIGSEGV, b"", -signal.SIGSEGV),
        (-signal.SIGKILL, ABORTED, -signal.SIGKILL),
        (3, ABORTED, 3),
    ],
)
def test_a_crash_in_the_writing_of_the_stacks_hides_none_before_it(code: int, stacks: bytes, expected: int) -> None:
    assert report.first_end(code, stacks) == expected
