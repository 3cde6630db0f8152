"""Logging: one JSON line per event, levels, and that a log line never takes anything down."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rkllmd import log


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
    assert log._Raw(2).writable()
