"""What this process is doing, written where it outlives the process (``rkllmd/keeper/journal.py``)."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Final, NamedTuple, Self

from rkllmd.keeper import journal

# No record: there are more calls at once than places for them.
_NONE: Final = -1
_NOTHING: Final = journal.asked("", None, None, "", "")
# Looked up once: each call of C is written.
_PLACES: Final = [journal.place(number) for number in range(journal.RECORDS)]
_STATES: Final = [place + journal.STATE for place in _PLACES]
_write_head: Final = journal.HEAD.pack_into
_write_number: Final = journal.NUMBER.pack_into


class Asked(NamedTuple):
    """For what C is called: a method, the model or context that it is for, who wants it."""

    method: str
    # Whose ``number``, ``name`` and ``source`` or ``path`` are written, where it has them.
    target: object = None
    # Where there is no target yet, as in a load.
    path: str = ""
    pid: int | None = None
    user: int | None = None
    # The request's id as JSON; the id of a detached call.
    request: str = ""
    job: str = ""
    # How many calls of clients it is for, of which this is the first.
    runs: int = 1


class _Work:
    """What a thread does at the moment; written in the form of records when it first calls C."""

    __slots__ = ("_ask", "_asked", "_bodies", "_target")

    def __init__(self, ask: Callable[[], Asked]) -> None:
        self._ask = ask
        self._asked: Asked | None = None
        self._target: object = None
        # By the function, for the target; made once, since a call may call C again and again.
        self._bodies: dict[str, bytes] = {}

    def body(self, function: str, on: object) -> bytes:
        found = self._bodies.get(function)
        if found is not None and (on is None or on is self._target):
            return found
        if self._asked is None:
            self._asked = self._ask()
            self._target = self._asked.target
        asked = self._asked
        is_for_target = on is None or on is self._target
        model = _model(self._target, asked.path) if is_for_target else _model(on)
        client = journal.asked(asked.method, asked.pid, asked.user, asked.request, asked.job, asked.runs)
        made = journal.body(function, model, client)
        if is_for_target:
            self._bodies[function] = made
        return made


class CrashJournal:
    """The journal of this process; without a keeper in memory of its own, where nobody reads it.

    Made on the event loop. Calls may be written on any thread: what is shared are single operations under the GIL.
    """

    def __init__(self, descriptor: int = -1) -> None:
        """Map the keeper's ``descriptor``, or nobody's memory."""
        self._memory = mmap.mmap(descriptor, journal.SIZE)
        self._beats = 0
        self._printed = 0
        # How much of the place where output arrives has been written to.
        self._arrived = 0
        # The numbers of free records, and what is written in each.
        self._free = list(range(journal.RECORDS))
        self._bodies = [b""] * journal.RECORDS
        self._work: dict[int, _Work] = {}
        self._loop = get_ident()

    def beat(self) -> None:
        """Note that the event loop turns; called once a second."""
        self._beats += 1
        journal.NUMBER.pack_into(self._memory, journal.BEATS, self._beats)

    # -- C calls -----------------------------------------------------------------------------------------------------

    def working(self, ask: Callable[[], Asked]) -> Working:
        """Surround what this thread does for one call of a method; ``ask`` is called if that calls C."""
        return Working(self._work, _Work(ask))

    def enter(self, function: str, on: object = None) -> int:
        """Note that this thread is about to call a C function; return the record's number, for ``leave``.

        ``on``: the model or context, where it may be another one than the method is for.
        """
        try:
            number = self._free.pop()
        except IndexError:
            return _NONE
        thread = get_ident()
        work = self._work.get(thread)
        body = journal.body(function, _model(on), _NOTHING) if work is None else work.body(function, on)
        at = _PLACES[number]
        if self._bodies[number] is not body:
            begin = at + journal.HEAD.size
            self._memory[begin : begin + len(body)] = body
            self._bodies[number] = body
        _write_head(self._memory, at, monotonic(), thread, thread == self._loop, journal.VALID)
        return number

    def leave(self, number: int) -> None:
        """Note that the call has returned."""
        if number != _NONE:
            _write_number(self._memory, _STATES[number], journal.FREE)
            self._free.append(number)

    def calling(self, function: str, on: object = None) -> Calling:
        """Surround a C function, or a run that goes on behind it."""
        return Calling(self, function, on)

    # -- what C prints; one thread at a time -------------------------------------------------------------------------

    def read(self, descriptor: int) -> bytes:
        """Read what C has printed, and keep the end of it. Raises BlockingIOError.

        It comes into the journal by the reading itself: it would be lost if the process died before it could be
        written there.
        """
        begin = journal.ARRIVAL + journal.NUMBER.size
        self._memory[begin : begin + self._arrived] = bytes(self._arrived)
        self._arrived = 0
        journal.NUMBER.pack_into(self._memory, journal.ARRIVAL, self._printed)
        with memoryview(self._memory) as memory, memory[begin : begin + journal.ARRIVAL_BYTES] as room:
            self._arrived = os.readv(descriptor, [room])
        data = self._memory[begin : begin + self._arrived]
        self._keep(data)
        return data

    def _keep(self, data: bytes) -> None:
        for at, piece in journal.pieces(self._printed, data):
            self._memory[at : at + len(piece)] = piece
        self._printed += len(data)
        journal.NUMBER.pack_into(self._memory, journal.PRINTED, self._printed)

    def logged(self, rest: int) -> None:
        """Note that all of it is in the log but for the last ``rest`` bytes, a line without its end."""
        journal.NUMBER.pack_into(self._memory, journal.LOGGED, self._printed - rest)


class Working:
    """A thread's work for one call; may be nested."""

    __slots__ = ("_before", "_thread", "_work", "_works")

    def __init__(self, works: dict[int, _Work], work: _Work) -> None:
        self._works = works
        self._work = work
        self._before: _Work | None = None
        self._thread = 0

    def __enter__(self) -> None:
        self._thread = thread = get_ident()
        self._before = self._works.get(thread)
        self._works[thread] = self._work

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            del self._works[self._thread]
        else:
            self._works[self._thread] = self._before


class Calling:
    """A C call as a context."""

    __slots__ = ("_function", "_journal", "_number", "_on")

    def __init__(self, its_journal: CrashJournal, function: str, on: object) -> None:
        self._journal = its_journal
        self._function = function
        self._on = on
        self._number = _NONE

    def __enter__(self) -> Self:
        self._number = self._journal.enter(self._function, self._on)
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.leave(self._number)


def _model(target: object, path: str = "") -> bytes:
    found = getattr(target, "source", "") or getattr(target, "path", "") or path
    return journal.model(getattr(target, "number", 0), getattr(target, "name", None) or "", found)
