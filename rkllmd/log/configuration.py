"""Structured logging: one JSON line per event on stderr, or columns where stderr is a terminal.

The configuration follows structlog's own page on performance: orjson straight to bytes, levels filtered before any
work is done.
"""

from __future__ import annotations

import io
import os
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import orjson
import structlog

from rkllmd.log.repetition import Allowance, Repetition
from rkllmd.log.writer import LogWriter

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from structlog.typing import EventDict

# RKLLM_LOG_LEVEL 0-3 → the levels of the standard library.
LEVELS: Final = (40, 30, 20, 10)
# What a line of the log has beside what C has printed.
_AROUND_BYTES: Final = 80
# For lines that nobody has read yet when the daemon leaves: a service manager that reads again does so at once.
_FLUSH_SECONDS: Final = 1.0


class Log:
    """Where the events of this process go."""

    def __init__(self, descriptor: int) -> None:
        self.writer = LogWriter(descriptor, _say_dropped)
        self._repetition = Repetition()
        self._printed = Allowance()
        self._lock = threading.Lock()

    def describe(self) -> dict[str, int]:
        """Return how many lines were lost because nobody read them, and how many left out as repetitions."""
        return {"dropped": self.writer.dropped, "left_out": self._repetition.left_out}

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written, ``seconds`` at most; return whether it is."""
        self.say_left_out()
        return self.writer.flush(seconds)

    def say_left_out(self) -> None:
        """Log how many events were left out in the windows that have ended."""
        with self._lock:
            ended = self._repetition.ended(time.monotonic())
        for kind, count in ended:
            event, client = kind if isinstance(kind, tuple) else (kind, None)
            who = {} if client is None else {"client": client}
            structlog.get_logger().warning("left_out", left_out=event, count=count, **who)

    # structlog's Processor: https://www.structlog.org/en/stable/processors.html
    def leave_out_repetitions(self, _logger: object, name: str, event: EventDict) -> EventDict:
        """Drop an event of which there were too many lately (for structlog)."""
        # Who asks for debug events wants all of them.
        if name != "debug" and event["event"] != "left_out" and not self._is_printed_and_allowed(event):
            self.say_left_out()
            with self._lock:
                is_admitted = self._repetition.admit((event["event"], _client(event)), time.monotonic())
            if not is_admitted:
                raise structlog.DropEvent
        return event

    def _is_printed_and_allowed(self, event: EventDict) -> bool:
        if event["event"] != "runtime":
            return False
        with self._lock:
            return self._printed.admit(_AROUND_BYTES + len(str(event.get("line", ""))), time.monotonic())


def _client(event: EventDict) -> str | None:
    """Return whose event it is: by the user, since one who connects again is another client each time."""
    uid = event.get("uid")
    return None if uid is None else f"uid {uid}"


def _say_dropped(count: int) -> None:
    structlog.get_logger().warning("log_lines_dropped", count=count)


class _Raw(io.RawIOBase):
    """The writer, as structlog's loggers want it: a file. Pieces of a line are put together."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._pieces = threading.local()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        piece = bytes(data)
        line = getattr(self._pieces, "line", b"") + piece
        if line.endswith(b"\n"):
            self._writer.write(line)
            line = b""
        self._pieces.line = line
        return len(piece)


# What ``configure`` has made last: a process has one log, as structlog has one configuration.
_log: Log | None = None


def configure(level: int, descriptor: int = 2) -> None:
    """Log events of ``level`` (0 to 3) and above to ``descriptor``."""
    global _log
    _log = log = Log(descriptor)
    on_terminal = os.isatty(descriptor)
    # It has what a BinaryIO has, of which the type checker only knows its subclasses.
    raw = cast(BinaryIO, _Raw(log.writer))
    factory: structlog.PrintLoggerFactory | structlog.BytesLoggerFactory
    if on_terminal:
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="replace", write_through=True)
        factory = structlog.PrintLoggerFactory(text)
    else:
        factory = structlog.BytesLoggerFactory(raw)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            log.leave_out_repetitions,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.format_exc_info,
            *([] if on_terminal else [structlog.processors.JSONRenderer(serializer=_to_json)]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=factory,
        # Loggers are made at import and must follow a change of level by SIGHUP.
        cache_logger_on_first_use=False,
    )


def describe() -> dict[str, int]:
    """Return how many lines were dropped because nobody read them, and how many left out as repetitions."""
    return {"dropped": 0, "left_out": 0} if _log is None else _log.describe()


def flush(seconds: float = _FLUSH_SECONDS) -> bool:
    """Wait until everything is written, ``seconds`` at most; return whether it is."""
    return _log is None or _log.flush(seconds)


def set_level(level: int) -> None:
    """Log events of ``level`` (0 to 3) and above from now on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))


def _to_json(event: dict[str, object], **_: object) -> bytes:
    try:
        return orjson.dumps(event, default=repr)
    except TypeError:  # a file name that is no UTF-8, an integer of more than 64 bits: logging must never fail
        return orjson.dumps({ascii(key)[1:-1]: ascii(value) for key, value in event.items()})
