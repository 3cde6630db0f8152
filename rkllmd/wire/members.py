"""The members of a request beside "method", "params" and "id": parsed and checked once, into ``Members``.

Source: docs/protocol.md, section 4. A member that can't be understood does no harm to a call that does not use it: the
fault is kept until somebody asks for it (``Members.check``), so that of several errors a call is answered with the one
that its way meets first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Final

from rkllmd.errors import InvalidParams, let_frames_go
from rkllmd.json_types import Json, JsonObject
from rkllmd.quick_dataclass import dataclass

# A model has a handful of inputs; the kernel takes 253 in one message (SCM_MAX_FD).
MAX_FDS: Final = 16
PRIORITIES: Final = ("high", "normal", "low")
STREAM_SHAPES: Final = ("partial", "final", "notify")
# The name of a session or of a prompt cache.
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
# A week.
MOST_MS: Final = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Members:
    """What a request says beside its method. A member that was left out or has a fault has its default here."""

    # How many file descriptors come with the request.
    fds: int = 0
    # Whether the tensors of its result are wanted as file descriptors.
    reply_fds: bool = False
    priority: str = "normal"
    session: str | None = None
    stream: str | None = None
    # In seconds.
    timeout: float | None = None
    first_token_timeout: float | None = None
    wait_timeout: float | None = None
    run_timeout: float | None = None
    # All members as they came, unknown ones included.
    given: Mapping[str, Json] = field(default_factory=dict)
    # The members that can't be understood, by name, with the reason.
    faults: Mapping[str, InvalidParams] = field(default_factory=dict)

    def check(self, *names: str) -> None:
        """Raise InvalidParams for the first of these members that can't be understood."""
        if self.faults:
            for name in names:
                if name in self.faults:
                    raise self.faults[name]


NO_MEMBERS: Final = Members()
"""What most requests say."""


def parse(given: Mapping[str, Json]) -> Members:
    """Return what the members mean, each checked. Raises nothing."""
    if not given:
        return NO_MEMBERS
    # By the name of the field of Members: a number, a boolean, a string or None.
    values: JsonObject = {}
    faults: dict[str, InvalidParams] = {}
    for name, value in given.items():
        if name in _READERS:
            field_name, read = _READERS[name]
            try:
                values[field_name] = read(name, value)
            except InvalidParams as fault:
                let_frames_go(fault)
                faults[name] = fault
    return Members(given=given, faults=faults, **values)


def refused_reply_fds() -> InvalidParams:
    """Return the error for a "reply_fds" that is no boolean, or stands where no descriptor can be sent back."""
    return InvalidParams(
        'The member "reply_fds" must be true or false, and only a request outside a batch may have it.',
        member="reply_fds",
        keyword="type",
        limit="boolean",
    )


def _count(name: str, value: Json) -> int:
    if type(value) is not int or not 0 <= value <= MAX_FDS:
        raise InvalidParams(
            f'The member "{name}" must be a number from 0 to {MAX_FDS}.', member=name, keyword="maximum", limit=MAX_FDS
        )
    return value


def _reply_fds(_name: str, value: Json) -> bool:
    if value and value is not True:
        raise refused_reply_fds()
    return value is True


def _priority(name: str, value: Json) -> str:
    if value not in PRIORITIES:
        raise InvalidParams(
            f'The member "{name}" must be one of {", ".join(PRIORITIES)}.',
            member=name,
            keyword="enum",
            limit=list(PRIORITIES),
        )
    return str(value)


def _session(name: str, value: Json) -> str | None:
    if value is not None and (not isinstance(value, str) or NAME.fullmatch(value) is None):
        raise InvalidParams(
            f'The member "{name}" must be a name of 1 to 100 letters, digits and . _ - that does not begin with a dot.',
            member=name,
            keyword="pattern",
            limit=NAME.pattern,
        )
    return value


def _stream(name: str, value: Json) -> str:
    if value is None:
        return "partial"  # asks also a method to stream that would not do so by default
    if value not in STREAM_SHAPES:
        raise InvalidParams(
            f'The member "{name}" must be partial, final or notify.',
            member=name,
            keyword="enum",
            limit=list(STREAM_SHAPES),
        )
    return str(value)


def _seconds(name: str, value: Json) -> float | None:
    if value is None:
        return None
    if type(value) is not int or not 1 <= value <= MOST_MS:
        keyword, limit = ("maximum", MOST_MS) if type(value) is int and value > MOST_MS else ("minimum", 1)
        raise InvalidParams(
            f'The member "{name}" must be a whole number of milliseconds from 1 to {MOST_MS}.',
            member=name,
            keyword=keyword,
            limit=limit,
        )
    return value / 1000


# By the member's name: the field of Members that it becomes, and the function that reads it.
_READERS: Final[Mapping[str, tuple[str, Callable[[str, Json], Json]]]] = {
    "fds": ("fds", _count),
    "first_token_timeout_ms": ("first_token_timeout", _seconds),
    "priority": ("priority", _priority),
    "reply_fds": ("reply_fds", _reply_fds),
    "run_timeout_ms": ("run_timeout", _seconds),
    "session": ("session", _session),
    "stream": ("stream", _stream),
    "timeout_ms": ("timeout", _seconds),
    "wait_timeout_ms": ("wait_timeout", _seconds),
}
MEMBERS: Final = frozenset(_READERS)
