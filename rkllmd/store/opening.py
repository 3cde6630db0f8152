"""Opens the store: the previous daemon's file, a new one where that is of no use, none where there is no place.

A start never fails here. What was found is said in the log, and by ``server.status``.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from typing import Final

import structlog

from rkllmd.store.directory import StoreDirectory, UnusableDirectory
from rkllmd.store.file_store import FileStore, is_damage
from rkllmd.store.schema import DamagedStore, UnknownStore, bring_up_to_date, check
from rkllmd.store.store import Store

log = structlog.get_logger()

# Looking through a file takes a millisecond for each megabyte where it is in the page cache, and 20 from an SD card. A
# larger one is looked through only after a crash.
_SMALL_BYTES: Final = 2**22
_SETTINGS: Final = (
    # What was deleted is given back to the disk (Store tidies up). Before everything else: it can't be changed later.
    "auto_vacuum = INCREMENTAL",
    # This is the only connection: no file of shared memory, whose pages kill a process when the disk is full.
    "locking_mode = EXCLUSIVE",
    "temp_store = MEMORY",
    # A transaction outlives every crash of the process; what must outlive a power cut is synchronised by Store itself,
    # after its commit, so that nobody waits for the disk who has no need to.
    "synchronous = NORMAL",
    # A conversation that was forgotten is not in the file any more. Each deleted page is written once more for that,
    # which is little beside what the model costs.
    "secure_delete = ON",
    # A damaged file is told apart from a good one sooner.
    "cell_size_check = ON",
    "trusted_schema = OFF",
    "cache_size = -1024",
)


def open_store(state_directory: str) -> Store:
    """Return the store in this directory, or one that keeps nothing where that can't be. Raises nothing."""
    try:
        directory = StoreDirectory(state_directory)
    except UnusableDirectory as error:
        return Store(str(error))
    try:
        return _open(directory)
    except (OSError, sqlite3.Error, UnusableDirectory) as error:
        directory.close()
        reason = str(error) if isinstance(error, UnusableDirectory) else f"{directory.file} can't be opened: {error}."
        log.error("store_not_opened", path=directory.file, reason=reason)
        return Store(reason)


def _open(directory: StoreDirectory) -> Store:
    """Open the file in the directory. Raises OSError, sqlite3.Error, UnusableDirectory."""
    aside: list[str] = []
    connection = _connect_or_replace(directory, aside.append)

    def replace(reason: str) -> sqlite3.Connection:
        aside.append(_set_aside(directory, reason))
        return _connect(directory)

    return FileStore(connection, directory, replace, aside)


def _connect_or_replace(directory: StoreDirectory, note: Callable[[str], None]) -> sqlite3.Connection:
    try:
        return _connect(directory)
    except (DamagedStore, UnknownStore) as error:
        reason = str(error)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        reason = str(error)
    note(_set_aside(directory, reason))
    return _connect(directory)


def _set_aside(directory: StoreDirectory, reason: str) -> str:
    path = directory.set_aside()
    log.error("store_set_aside", path=directory.file, kept_as=path, reason=reason)
    return path


def _connect(directory: StoreDirectory) -> sqlite3.Connection:
    """Return a connection to the file. Raises DamagedStore, UnknownStore, sqlite3.Error, OSError, UnusableDirectory."""
    directory.make_file()
    was_left_open = directory.was_left_open
    connection = sqlite3.connect(directory.file, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}").close()
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"its journal mode is {mode}, which can't be changed")
        if was_left_open or os.path.getsize(directory.file) < _SMALL_BYTES:
            check(connection)
        bring_up_to_date(connection)
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        raise
    return connection
