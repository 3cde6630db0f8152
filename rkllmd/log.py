"""Structured logging: one JSON line per event on stderr, or columns where stderr is a terminal.

The configuration follows structlog's own page on performance: orjson straight to bytes, levels filtered before any
work is done.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import orjson
import structlog

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# RKLLM_LOG_LEVEL 0-3 → the levels of the standard library.
LEVELS: Final = (40, 30, 20, 10)


class _Raw(io.RawIOBase):
    """Writes to a descriptor; a full disk or a closed journal must not take the daemon down."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError:
            return memoryview(data).nbytes


def configure(level: int, descriptor: int = 2) -> None:
    """Log events of ``level`` (0 to 3) and above to ``descriptor``."""
    on_terminal = os.isatty(descriptor)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # It has what a BinaryIO has, of which the type checker only knows its subclasses.
    raw = cast(BinaryIO, _Raw(descriptor))
    factory: structlog.PrintLoggerFactory | structlog.BytesLoggerFactory
    if on_terminal:
        text = io.TextIOWrapper(raw, encoding="utf-8", errors="replace", write_through=True)
        factory = structlog.PrintLoggerFactory(text)
    else:
        factory = structlog.BytesLoggerFactory(raw)
    structlog.configure(
        processors=[
            *shared,
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.format_exc_info,
            *([] if on_terminal else [structlog.processors.JSONRenderer(serializer=_to_json)]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=factory,
        # Loggers are made at import and must follow a change of level by SIGHUP.
        cache_logger_on_first_use=False,
    )


def set_level(level: int) -> None:
    """Log events of ``level`` (0 to 3) and above from now on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))


def _to_json(event: dict[str, object], **_: object) -> bytes:
    try:
        return orjson.dumps(event, default=repr)
    except TypeError:  # a file name that is no UTF-8, an integer of more than 64 bits: logging must never fail
        return orjson.dumps({ascii(key)[1:-1]: ascii(value) for key, value in event.items()})
