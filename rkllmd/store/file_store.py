"""The store that is a file: written by one thread of its own, in the order in which changes were given.

Nobody waits for the disk but who asks for that. What could not be written for lack of room is tried again, in its
order, before what came after it; the calls that it is about do not fail by that.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from rkllmd.json_types import JsonObject
from rkllmd.store.store import Done, Row, Statement, Store, Value
from rkllmd.store.synchroniser import Synchroniser

if TYPE_CHECKING:
    from rkllmd.store.directory import StoreDirectory

log = structlog.get_logger()

# SQLite's result codes (sqlite.org/rescode.html), the first eight bits.
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOT_NOW: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
}
# While there is no room for them: how often changes are tried again, and how many of them are kept for that.
_RETRY_SECONDS: Final = 10.0
_MOST_UNSAVED: Final = 10_000
# What was deleted is out of all files after this time. Sooner would write each page twice that changes every few
# seconds, which an SD card counts.
_TIDY_SECONDS: Final = 60.0


class _NoRoomError(Exception):
    """A change can't be written now, and perhaps later; the message says why."""


class _Change(NamedTuple):
    statements: tuple[Statement, ...]
    # Told when no crash can undo it, and when no power cut can.
    written: Done | None
    durable: Done | None
    # Whether it is tried again if there is no room for it.
    is_kept: bool


class FileStore(Store):
    """The one connection to the file."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        directory: StoreDirectory,
        replace: Callable[[str], sqlite3.Connection],
        set_aside: list[str],
    ) -> None:
        """Take over a connection whose tables are there.

        ``replace`` sets the file aside and connects to a new one, for a reason; ``set_aside`` are the paths of those
        that it, and the start, has set aside.
        """
        super().__init__()
        self._connection = connection
        self._directory = directory
        self._replace = replace
        self._set_aside = set_aside
        self._synchroniser = Synchroniser(directory.open_log)
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        # Held by who uses the connection: reading is allowed on any thread.
        self._lock = threading.Lock()
        self._unsaved: list[_Change] = []
        self._failure: str | None = None
        self._tidy_at: float | None = None
        # A daemon thread: a disk that does not answer must not keep the process from leaving.
        self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
        self._thread.start()

    @property
    def path(self) -> str | None:
        """Return the directory that it is in."""
        return self._directory.path

    def describe(self) -> JsonObject:
        """Return what ``server.status`` says about it."""
        return {
            "kept_in": self.path,
            "unavailable": None,
            # What waits for room on the disk, and why.
            "unsaved": len(self._unsaved),
            "failure": self._failure,
            "set_aside": list(self._set_aside),
        }

    def read(self, statement: str, *values: Value) -> list[Row]:
        """Return the rows that a SELECT finds (``Store``)."""
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            log.error("store_not_read", reason=str(error))
            return []

    def write(
        self, *statements: Statement, written: Done | None = None, durable: Done | None = None, keep: bool = True
    ) -> None:
        """Write without waiting (``Store``); who wants to be told is told on one of the store's threads."""
        self._changes.put(_Change(statements, written, durable, keep))

    def wait(self, *statements: Statement, seconds: float, durable: bool = False) -> str | None:
        """Write, and wait for so long (``Store``)."""
        reasons: list[str | None] = []
        written = threading.Event()

        def done(reason: str | None) -> None:
            reasons.append(reason)
            written.set()

        if durable:
            self.write(*statements, durable=done)
        else:
            self.write(*statements, written=done)
        return reasons[0] if written.wait(seconds) else f"it takes longer than {seconds:g} s"

    def close(self, seconds: float = 2.0) -> None:
        """Write what is left, and close the file; a disk that does not answer is waited for only so long."""
        self._changes.put(None)
        latest = time.monotonic() + seconds
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("store_not_closed", reason="the disk does not answer")
            return
        self._synchroniser.close(max(0.0, latest - time.monotonic()))
        if self._unsaved:
            log.error("store_changes_lost", count=len(self._unsaved), reason=self._failure)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._directory.close()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        is_open = True
        while is_open:
            changes, is_open = self._next()
            self._commit(changes)
            if self._tidy_at is not None and (not is_open or time.monotonic() >= self._tidy_at):
                self._tidy()

    def _next(self) -> tuple[list[_Change], bool]:
        """Return all changes that have come, at least one unless something else is due; false if it was the last."""
        changes: list[_Change] = []
        try:
            change = self._changes.get(timeout=self._patience())
            while change is not None:
                changes.append(change)
                change = self._changes.get_nowait()
        except queue.Empty:
            return changes, True
        return changes, False

    def _patience(self) -> float | None:
        """Return after how many seconds something is due without a new change; None if nothing is."""
        waits = [_RETRY_SECONDS] if self._unsaved else []
        if self._tidy_at is not None:
            waits.append(max(0.0, self._tidy_at - time.monotonic()))
        return min(waits, default=None)

    def _commit(self, new: list[_Change]) -> None:
        """Write the changes, in one transaction if that goes well."""
        changes, self._unsaved = [*self._unsaved, *new], []
        if not changes:
            return
        if self._tidy_at is None:
            self._tidy_at = time.monotonic() + _TIDY_SECONDS
        try:
            self._transact(changes)
        except Exception:
            written = self._one_by_one(changes)
        else:
            written = changes
            self._note_failure(None)
        for change in written:
            if change.written is not None:
                change.written(None)
        durable = [change.durable for change in written if change.durable is not None]
        if durable:
            self._synchroniser.tell(durable)

    def _one_by_one(self, changes: list[_Change]) -> list[_Change]:
        """Write the changes, each by itself; return those that were written.

        Behind one that waits for room all others wait, for their order is that of what has happened.
        """
        written: list[_Change] = []
        blocked: str | None = None
        for change in changes:
            reason = blocked
            try:
                if reason is None:
                    self._write_one(change)
                    written.append(change)
                    continue
            except _NoRoomError as error:
                reason = str(error)
            except Exception as error:  # also of the conversion: text that is no UTF-8, an integer of more than 64 bits
                log.error("store_change_refused", statements=[sql for sql, _ in change.statements], exc_info=error)
                _tell_both(change, str(error))
                continue
            _tell_both(change, reason)
            if change.is_kept and change.statements:
                blocked = reason
                self._unsaved.append(change._replace(written=None, durable=None))
        self._note_failure(blocked)
        excess = max(0, len(self._unsaved) - _MOST_UNSAVED)
        if excess:
            log.error("store_changes_lost", count=excess, reason=blocked)
            del self._unsaved[:excess]
        return written

    def _write_one(self, change: _Change) -> None:
        """Write one change. Raises _NoRoomError, and what is wrong with the change."""
        try:
            self._transact([change])
        except sqlite3.Error as error:
            if _code(error) in _NOT_NOW:
                raise _NoRoomError(str(error)) from None
            if not is_damage(error):
                raise
            self._begin_anew(str(error))
            self._transact([change])

    def _begin_anew(self, reason: str) -> None:
        """Go on with a new file, since this one is damaged. Raises _NoRoomError."""
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            try:
                self._connection = self._replace(reason)
            except Exception as error:
                raise _NoRoomError(str(error)) from None

    def _transact(self, changes: list[_Change]) -> None:
        """Write all of the changes or none. Raises sqlite3.Error, and what values that can't be stored raise."""
        with self._lock:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in (statement for change in changes for statement in change.statements):
                    connection.execute(sql, [b"".join(value) if type(value) is list else value for value in values])
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _tidy(self) -> None:
        """Take what was deleted out of the files."""
        self._tidy_at = None
        try:
            with self._lock:
                # A script: Connection.execute would take one step only, which frees one page.
                self._connection.executescript("PRAGMA incremental_vacuum;")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:  # at the next change again
            log.warning("store_not_tidied", reason=str(error))

    def _note_failure(self, reason: str | None) -> None:
        """Say in the log when the store can't be written any more, and when it can again; once each."""
        if reason is not None and self._failure is None:
            log.error("store_not_written", reason=reason)
        elif reason is None and self._failure is not None:
            log.info("store_written_again")
        self._failure = reason


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether the error means that the file is not what was written."""
    return _code(error) in _DAMAGE


def _tell_both(change: _Change, reason: str | None) -> None:
    for done in (change.written, change.durable):
        if done is not None:
            done(reason)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
