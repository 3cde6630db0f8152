"""A store that keeps nothing."""

from __future__ import annotations

from rkllmd.store.store import Store


def test_it_takes_everything_and_has_nothing() -> None:
    store, reasons = Store("no place"), list[str | None]()
    store.write(
        ("INSERT INTO footprints VALUES ('m', 1)", ()), written=reasons.append, durable=reasons.append, keep=False
    )
    assert reasons == [None, None]
    assert store.wait(seconds=0) is None
    assert store.read("SELECT * FROM footprints") == []
    assert (store.is_lasting, store.path, store.describe()["unavailable"]) == (False, None, "no place")
    store.close()
