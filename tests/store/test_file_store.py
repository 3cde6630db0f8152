"""Writing: in order, by one thread, without anybody waiting who has no need to; and what happens when it can't be."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rkllmd.json_types import Json
from rkllmd.store import file_store as store_module
from rkllmd.store.directory import NAME
from rkllmd.store.store import Statement, Store, nobody_waits
from tests.store.stores import file_of, looked_into, opened, written

Reasons = list[str | None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path) as store:
        yield store


def put(model: str, size: Json = 1) -> Statement:
    return "INSERT OR REPLACE INTO footprints VALUES (?, ?)", (model, size)


def models(store: Store) -> list[str]:
    return [row[0] for row in store.read("SELECT model FROM footprints ORDER BY rowid")]


def limit_pages(store: Store, more: int) -> None:
    """Let the file grow by this many pages only, as on a full disk."""
    ((pages,),) = store.read("PRAGMA page_count")
    store.read(f"PRAGMA max_page_count = {pages + more}")


def make_room(store: Store) -> None:
    store.read("PRAGMA max_page_count = 1000000")


def test_the_order_of_writes_is_the_order_of_events(store: Store) -> None:
    for number in range(300):
        store.write(put(str(number)))
    written(store)
    assert models(store) == [str(number) for number in range(300)]


def test_statements_that_are_written_together_are_written_or_not_together(store: Store) -> None:
    with capture_logs() as logs:
        store.write(put("a"), ("INSERT INTO nothing VALUES (1)", ()))
        store.write(put("b"))
        written(store)
    assert models(store) == ["b"]
    assert [line["event"] for line in logs] == ["store_change_refused"]


@pytest.mark.parametrize("value", [2**70, object(), "\ud800"])
def test_a_value_that_no_store_takes_stops_nothing_else(store: Store, value: object) -> None:
    reasons: Reasons = []
    with capture_logs() as logs:
        store.write(put("a"))
        store.write(put("x", value), written=reasons.append)
        store.write(put("b"))
        written(store)
    assert models(store) == ["a", "b"]
    assert len(reasons) == 1, "told once"
    assert reasons[0]
    assert [line["event"] for line in logs] == ["store_change_refused"]


def test_whoever_asks_is_told_on_the_stores_thread(store: Store) -> None:
    threads: list[str] = []
    store.write(put("a"), written=lambda reason: threads.append(f"{threading.current_thread().name} {reason}"))
    written(store)
    assert threads == ["store None"]


def test_only_who_asks_for_it_waits_for_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: events.append(f"disk {os.fstat(descriptor).st_size > 0}"))
    store.write(put("a"), written=lambda _: events.append("a"))
    written(store)
    assert events == ["a"]
    assert store.wait(put("b"), seconds=60, durable=True) is None
    assert events == ["a", "disk True"]


def test_writing_goes_on_while_the_disk_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> None:
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(os, "fdatasync", slow)
    told: list[str] = []
    store.write(put("a"), written=lambda _: told.append("written"), durable=lambda _: told.append("durable"))
    assert begun.wait(60)
    written(store)
    store.write(put("b"))
    written(store)
    assert (models(store), told) == (["a", "b"], ["written"])
    go_on.set()
    assert store.wait(seconds=60, durable=True) is None
    assert told == ["written", "durable"]


def test_what_comes_together_waits_for_the_disk_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        synchronised.append(descriptor)
        begun.set()
        assert go_on.wait(60)

    monkeypatch.setattr(os, "fdatasync", slow)
    store.write(put("first"), durable=nobody_waits)
    assert begun.wait(60)
    for number in range(20):
        store.write(put(str(number)), durable=nobody_waits)
        written(store)
    go_on.set()
    assert store.wait(seconds=60, durable=True) is None
    assert len(synchronised) <= 3, "the first one, those that came meanwhile, and the last"


def test_a_disk_that_fails_to_synchronise_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    assert store.wait(put("a"), seconds=60, durable=True) == "Input/output error"
    assert store.wait(put("b"), seconds=60) is None


def test_without_room_what_is_given_up_is_told_and_the_rest_waits_in_its_order(store: Store) -> None:
    store.write(put("before"))
    written(store)
    limit_pages(store, 0)
    reasons: Reasons = []
    with capture_logs() as logs:
        store.write(put("x" * 50_000), written=reasons.append)
        store.write(put("promise"), written=reasons.append, keep=False)
        store.write(put("small"))
        assert store.wait(seconds=60) == "database or disk is full"
    assert reasons == ["database or disk is full"] * 2
    described = store.describe()
    assert described["failure"] == "database or disk is full"
    assert described["unsaved"] == 2
    assert models(store) == ["before"], "nothing overtakes what came before it"
    make_room(store)
    with capture_logs() as more:
        store.write(put("after"))
        written(store)
    assert models(store) == ["before", "x" * 50_000, "small", "after"]
    assert (store.describe()["failure"], store.describe()["unsaved"]) == (None, 0)
    assert [line["event"] for line in logs + more] == ["store_not_written", "store_written_again"], "said once"


def test_what_had_no_room_is_tried_again_without_a_new_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_RETRY_SECONDS", 0.01)
    limit_pages(store, 0)
    with capture_logs():
        assert store.wait(put("x" * 50_000), seconds=60) is not None
        make_room(store)
        while store.describe()["unsaved"]:
            time.sleep(0.001)
    assert models(store) == ["x" * 50_000]


def test_only_so_much_waits_for_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_MOST_UNSAVED", 3)
    limit_pages(store, 0)
    with capture_logs() as logs:
        for number in range(5):
            store.write(put(f"{number}" * 50_000))
        store.wait(seconds=60)
        assert store.describe()["unsaved"] == 3
        make_room(store)
        store.wait(seconds=60)
    assert [model[0] for model in models(store)] == ["2", "3", "4"]
    assert sum(line.get("count", 0) for line in logs) == 2


def test_a_file_that_is_damaged_meanwhile_is_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(200):
            store.write(put(f"{number}" * 100))
        written(store)
        store.read("PRAGMA wal_checkpoint(TRUNCATE)")
        store.read("PRAGMA shrink_memory")
        with file_of(tmp_path).open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(os.path.getsize(file_of(tmp_path)) - 4096))
        with capture_logs() as logs:
            assert store.wait(put("after"), seconds=60, durable=True) is None
        assert [line["event"] for line in logs] == ["store_set_aside"]
        assert models(store) == ["after"]
        assert len(store.describe()["set_aside"]) == 1
    with looked_into(file_of(tmp_path)) as connection:
        assert connection.execute("SELECT model FROM footprints").fetchall() == [("after",)]


def test_what_was_deleted_is_in_no_file_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_TIDY_SECONDS", 0.0)
    secret = "nobody's business " * 2000

    def tidied(store: Store) -> None:
        written(store)  # it is told before the tidying
        written(store)

    def is_somewhere() -> bool:
        return any(b"nobody's business" in path.read_bytes() for path in (tmp_path / NAME).iterdir())

    with opened(tmp_path) as store:
        store.write(put(secret))
        tidied(store)
        assert is_somewhere()
        before = file_of(tmp_path).stat().st_size
        store.write(("DELETE FROM footprints", ()))
        tidied(store)
        assert not is_somewhere()
        assert file_of(tmp_path).stat().st_size < before, "and its place is the disk's again"


def test_what_comes_before_the_end_is_written(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(100):
            store.write(put(str(number)))
    with opened(tmp_path) as store:
        assert len(models(store)) == 100


def test_what_could_never_be_written_is_counted_at_the_end(tmp_path: Path) -> None:
    with capture_logs() as logs, opened(tmp_path) as store:
        limit_pages(store, 0)
        store.write(put("x" * 50_000))
    assert (logs[-1]["event"], logs[-1]["count"]) == ("store_changes_lost", 1)


def test_a_disk_that_does_not_answer_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with opened(tmp_path) as store, capture_logs() as logs:
        go_on = threading.Event()

        def hold(_: str | None) -> None:
            go_on.wait(60)

        store.write(put("a"), written=hold)
        store.close(0.0)
        assert logs[-1]["event"] == "store_not_closed"
        assert store.wait(seconds=0.0) == "it takes longer than 0 s"
        go_on.set()


def test_a_store_that_can_not_be_read_has_nothing(store: Store) -> None:
    with capture_logs() as logs:
        assert store.read("SELECT * FROM nothing") == []
    assert [line["event"] for line in logs] == ["store_not_read"]
