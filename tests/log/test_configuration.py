"""Logging: one JSON line per event, levels, and that a log line never takes anything down."""

from __future__ import annotations

import contextlib
import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rkllmd.log import configuration as log
from rkllmd.log.repetition import MOST_IN_WINDOW


@pytest.fixture(autouse=True)
def configuration_of_its_own() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Any]:
    """Configure logging to a file; give the function that returns the lines in it."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    lines.descriptor = descriptor  # type: ignore[attr-defined]
    yield lines
    os.close(descriptor)


def test_an_event_is_one_line_of_json(written: Any) -> None:
    log.configure(2, written.descriptor)
    structlog.get_logger().info("ready", socket="/tmp/ü", number=5, items=[1], path=Path("/x"))
    (line,) = written()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "ready",
        "level": "info",
        "socket": "/tmp/ü",
        "number": 5,
        "items": [1],
        "path": "PosixPath('/x')",
    }


@pytest.mark.parametrize(("level", "seen"), [(0, "e"), (1, "ew"), (2, "ewi"), (3, "ewid")])
def test_levels(written: Any, level: int, seen: str) -> None:
    log.configure(level, written.descriptor)
    logger = structlog.get_logger()
    logger.error("e")
    logger.warning("w")
    logger.info("i")
    logger.debug("d")
    assert [line["event"] for line in written()] == list(seen)


def test_a_change_of_level_reaches_loggers_that_exist(written: Any) -> None:
    log.configure(0, written.descriptor)
    logger = structlog.get_logger()
    logger.info("before")
    log.set_level(2)
    logger.info("after")
    log.set_level(0)
    logger.info("quiet again")
    assert [line["event"] for line in written()] == ["after"]


def test_an_exception_is_in_the_line(written: Any) -> None:
    log.configure(2, written.descriptor)
    structlog.get_logger().error("failed", exc_info=ValueError("why"))
    (line,) = written()
    assert line["exception"] == "ValueError: why"


def test_what_was_bound_to_the_context_is_in_the_line(written: Any) -> None:
    log.configure(2, written.descriptor)
    with structlog.contextvars.bound_contextvars(client=7):
        structlog.get_logger().info("x")
    assert written()[0]["client"] == 7


@pytest.mark.parametrize(
    "value",
    [os.fsdecode(b"/tmp/\xff"), 2**70, object(), {1: 2}, float("nan"), b"\xff", [[]]],
    ids=["no UTF-8", "huge", "object", "key", "nan", "bytes", "nested"],
)
def test_any_value_can_be_logged(written: Any, value: Any) -> None:
    log.configure(2, written.descriptor)
    structlog.get_logger().info("x", value=value)
    (line,) = written()
    assert "x" in line["event"]
    assert "value" in line


@pytest.mark.parametrize("descriptor", ["/dev/full", None], ids=["disk full", "closed"])
def test_a_log_that_cannot_be_written_is_no_error(descriptor: str | None) -> None:
    if descriptor is None:
        reader, number = os.pipe()
        os.close(reader)
    else:
        number = os.open(descriptor, os.O_WRONLY)
    try:
        with pytest.raises(OSError, match=r"No space|Broken pipe"):
            os.write(number, b"x")
        log.configure(2, number)
        structlog.get_logger().info("x")
    finally:
        os.close(number)


def test_on_a_terminal_an_event_is_a_line_for_people() -> None:
    ours, theirs = pty.openpty()
    try:
        log.configure(2, theirs)
        structlog.get_logger().info("ready", socket="/tmp/ü\udcff")
        text = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "ready" in text
    assert "/tmp/ü" in text
    assert not text.startswith("{")


def test_the_writer_says_that_it_can_write() -> None:
    assert log._Raw(log.Log(2).writer).writable()


def test_what_repeats_is_counted_by_client(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    log.configure(2, written.descriptor)
    logger = structlog.get_logger()
    for _ in range(MOST_IN_WINDOW + 5):
        logger.warning("refused", uid=1000)
    logger.warning("refused", uid=1001)
    assert log.describe() == {"dropped": 0, "left_out": 5}
    assert [line["uid"] for line in written()] == [1000] * MOST_IN_WINDOW + [1001]
    now = 60.0
    logger.info("later")
    left_out, later = written()[-2:]
    assert (left_out["event"], left_out["left_out"], left_out["count"], left_out["client"]) == (
        "left_out",
        "refused",
        5,
        "uid 1000",
    )
    assert later["event"] == "later"


def test_lines_that_nobody_read_are_told_when_they_flow_again() -> None:
    reader, writer = os.pipe()
    try:
        log.configure(2, writer)
        logger = structlog.get_logger()
        for number in range(1000):
            logger.info(f"event {number}", text="x" * 5000)
        dropped = log.describe()["dropped"]
        assert dropped > 0
        lines = b""
        os.set_blocking(reader, False)
        while not log.flush(0.001):
            with contextlib.suppress(BlockingIOError):
                lines += os.read(reader, 65_536)
        with contextlib.suppress(BlockingIOError):
            lines += os.read(reader, 2**20)
        assert json.loads(lines.splitlines()[-1]).items() >= {"event": "log_lines_dropped", "count": dropped}.items()
    finally:
        os.close(reader)
        os.close(writer)


def test_no_line_of_a_runtime_is_left_out(written: Any) -> None:
    """The last one may say why C crashes a moment later."""
    log.configure(2, written.descriptor)
    for number in range(MOST_IN_WINDOW + 5):
        structlog.get_logger().info("runtime", line=number)
    assert [line["line"] for line in written()] == list(range(MOST_IN_WINDOW + 5))
    assert log.describe()["left_out"] == 0


def test_no_debug_event_is_left_out(written: Any) -> None:
    log.configure(3, written.descriptor)
    for _ in range(MOST_IN_WINDOW + 5):
        structlog.get_logger().debug("client_gone")
    assert len(written()) == MOST_IN_WINDOW + 5
