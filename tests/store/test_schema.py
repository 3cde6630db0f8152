"""The tables: made once, known again, and never those of somebody else."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from rkllmd.store import schema
from rkllmd.store.schema import UnknownStore, bring_up_to_date


def tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_an_empty_file_gets_all_tables_and_keeps_them() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        bring_up_to_date(connection)
        connection.execute("INSERT INTO footprints VALUES ('m', 1)")
        made = tables(connection)
        assert {"durations", "footprints", "verdicts"} <= made
        bring_up_to_date(connection)
        assert tables(connection) == made
        assert connection.execute("SELECT * FROM footprints").fetchall() == [("m", 1)]
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_every_earlier_version_becomes_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        bring_up_to_date(connection)
        today = tables(connection)
    for version in range(1, schema.VERSION):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            with monkeypatch.context() as patch:
                patch.setattr(schema, "VERSION", version)
                patch.setattr(schema, "_STEPS", schema._STEPS[:version])
                bring_up_to_date(connection)
            bring_up_to_date(connection)
            assert tables(connection) == today


@pytest.mark.parametrize(
    "statement",
    [
        f"PRAGMA user_version = {schema.VERSION + 1}; PRAGMA application_id = {schema.APPLICATION_ID};",
        "PRAGMA application_id = 7;",
        "PRAGMA user_version = 1;",
        "CREATE TABLE theirs (x);",
    ],
)
def test_what_is_not_ours_is_left_as_it_is(statement: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(statement)
        before = list(connection.iterdump())
        with pytest.raises(UnknownStore):
            bring_up_to_date(connection)
        assert list(connection.iterdump()) == before
