"""A store as those see it who keep something in it; this one keeps nothing, for where there is no place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from rkllmd.json_types import Json, JsonObject

Value: TypeAlias = str | bytes | list[bytes] | int | float | None
"""A value for a place of a statement; bytes may be in pieces, and are joined where nobody waits for it."""
Statement: TypeAlias = tuple[str, tuple[Value, ...]]
"""A statement of SQL, and the values for its places."""
Row: TypeAlias = tuple[Json, ...]
"""What a SELECT finds; the tables' own declarations say of which types."""
Done: TypeAlias = Callable[[str | None], None]
"""Is told that a change was written (None), or why it was not."""


def nobody_waits(reason: str | None) -> None:
    """Let a change be made durable soon, without anybody who waits for it."""


class Store:
    """What is given to it is gone: everybody has what it needs in memory as well. ``FileStore`` keeps it."""

    def __init__(self, why_not: str | None = None) -> None:
        """``why_not`` says why nothing is kept."""
        self.why_not = why_not

    @property
    def path(self) -> str | None:
        """Return the directory that it is in; None where there is none."""
        return None

    @property
    def is_lasting(self) -> bool:
        """Return whether what is written outlives the daemon."""
        return self.path is not None

    def describe(self) -> JsonObject:
        """Return what ``server.status`` says about it."""
        return {"kept_in": None, "unavailable": self.why_not, "unsaved": 0, "failure": None, "set_aside": []}

    def read(self, statement: str, *values: Value) -> list[Row]:
        """Return the rows that a SELECT finds, of what was written by now; it may wait for the disk.

        A store that can't be read has none, which the log says.
        """
        return []

    def write(
        self, *statements: Statement, written: Done | None = None, durable: Done | None = None, keep: bool = True
    ) -> None:
        """Write, in one transaction, behind all that was given before; from any thread, without waiting.

        ``written`` is told, on any thread, when no crash of the process can undo it, ``durable`` when no power cut can;
        the disk is only waited for where that is given. Without ``keep`` it is given up if it can't be written at once,
        which both are told in either case.
        """
        for done in (written, durable):
            if done is not None:
                done(None)

    def wait(self, *statements: Statement, seconds: float, durable: bool = False) -> str | None:
        """Write, and wait until that has happened, or for so long; return why it has not.

        ``durable``: wait for the disk as well.
        """
        return None

    def close(self, seconds: float = 2.0) -> None:
        """Write what is left, and close the file; a disk that does not answer is waited for only so long."""
