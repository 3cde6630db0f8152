"""The tables, and how a store of an earlier version gets those of today."""

from __future__ import annotations

import sqlite3
from typing import Final

# "rkld": what another program has made is not ours to write to.
APPLICATION_ID: Final = 0x726B6C64
# One step for each version, from the first one on; a step that was released is not changed any more.
_STEPS: Final = (
    # Tables of what is learned: the order of their rows (rowid) is that in which they were last written.
    """
    CREATE TABLE durations (call TEXT PRIMARY KEY, mean_ms REAL NOT NULL, calls INTEGER NOT NULL);
    CREATE TABLE footprints (model TEXT PRIMARY KEY, bytes INTEGER NOT NULL);
    CREATE TABLE verdicts (files TEXT PRIMARY KEY, verdict TEXT NOT NULL);
    """,
    # What rkllm.init was given, and what was done to the model since, as JSON.
    """
    CREATE TABLE models (handle INTEGER PRIMARY KEY, made_from BLOB NOT NULL);
    """,
    # store/jobs.py says what is what. number: the order of submission, ended: that of the ends.
    """
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        user INTEGER,
        connection INTEGER NOT NULL,
        client TEXT NOT NULL,
        method TEXT NOT NULL,
        request BLOB,
        model INTEGER,
        is_bound INTEGER NOT NULL,
        retry INTEGER NOT NULL,
        begun INTEGER NOT NULL DEFAULT 0,
        is_waiting INTEGER NOT NULL DEFAULT 1,
        elapsed_ms REAL NOT NULL DEFAULT 0,
        result BLOB,
        error BLOB,
        ended INTEGER
    );
    """,
    # store/sessions.py says what is what. A turn's number: how many were said before it.
    """
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        user INTEGER,
        name TEXT NOT NULL,
        model_path TEXT NOT NULL,
        made_at REAL NOT NULL,
        used_at REAL NOT NULL,
        dropped_turns INTEGER NOT NULL,
        bytes_per_token REAL NOT NULL
    );
    CREATE TABLE turns (
        session INTEGER NOT NULL,
        number INTEGER NOT NULL,
        question TEXT NOT NULL,
        answer TEXT NOT NULL,
        thinking INTEGER NOT NULL,
        special INTEGER NOT NULL,
        PRIMARY KEY (session, number)
    );
    """,
    # Prompt caches that were written to paths that clients named.
    """
    CREATE TABLE saved_caches (path TEXT PRIMARY KEY, user INTEGER, bytes INTEGER NOT NULL, saved_at REAL NOT NULL);
    """,
    # Calls that have crashed the daemon; what is in a row is up to trials/quarantine.py. Learned as well.
    """
    CREATE TABLE crashes (call TEXT PRIMARY KEY, entry TEXT NOT NULL);
    """,
    # The last crash of a daemon, as server.status has it; one row. Learned as well.
    """
    CREATE TABLE last_crash (number INTEGER PRIMARY KEY, crash TEXT NOT NULL);
    """,
)
VERSION: Final = len(_STEPS)


class UnknownStore(Exception):
    """It is another program's, or of a later version of this one; the message says which."""


class DamagedStore(Exception):
    """What is in the file is not what was written; the message is SQLite's."""


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make the tables that are missing. Raises UnknownStore, sqlite3.Error."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application or version or tables:
            raise UnknownStore("it is another program's")
    elif version > VERSION:
        raise UnknownStore(f"it is of a later version of rkllmd ({version}, this one knows {VERSION})")
    if version < VERSION:
        # One transaction: a crash leaves the version before or this one.
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
        connection.executescript(f"BEGIN IMMEDIATE; {''.join(_STEPS[version:])} {marks} COMMIT;")


def check(connection: sqlite3.Connection) -> None:
    """Look through the whole file. Raises DamagedStore, sqlite3.Error."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedStore(str(found))
