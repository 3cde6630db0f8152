"""Stores for tests."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rkllmd.store.directory import FILE, NAME
from rkllmd.store.opening import open_store
from rkllmd.store.store import Store


@contextlib.contextmanager
def opened(state_directory: Path | str) -> Iterator[Store]:
    """Give the store of a directory, and close it."""
    store = open_store(str(state_directory))
    try:
        yield store
    finally:
        store.close()


def file_of(state_directory: Path) -> Path:
    """Return the store's file."""
    return state_directory / NAME / FILE


def written(store: Store) -> None:
    """Return when all that was given to the store so far is written."""
    assert store.wait(seconds=60) is None


@contextlib.contextmanager
def looked_into(file: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection of another program to a store's file that nobody has open."""
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()
