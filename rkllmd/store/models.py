"""The language models that are loaded, by their handles: from what each was made."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import structlog

from rkllmd.json_types import JsonObject
from rkllmd.store.store import Store

log = structlog.get_logger()


class KeptModels:
    """The table ``models``; what is in a row is up to ``language/models/remembered.py``."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> list[tuple[int, JsonObject]]:
        """Return the handles and what the models were made from, in the order in which they were loaded."""
        found: list[tuple[int, JsonObject]] = []
        for handle, content in self._store.read("SELECT handle, made_from FROM models ORDER BY handle"):
            try:
                found.append((handle, dict(orjson.loads(content))))
            except (ValueError, TypeError) as error:
                log.warning("store_row_not_read", table="models", key=handle, reason=str(error))
        return found

    def put(self, handle: int, made_from: JsonObject) -> None:
        """Write what a model is made from; before, it may have been something else."""
        row = handle, orjson.dumps(made_from)
        self._store.write(("INSERT OR REPLACE INTO models (handle, made_from) VALUES (?, ?)", row))

    def drop(self, handles: Iterable[int]) -> None:
        """Forget models."""
        statements = [("DELETE FROM models WHERE handle = ?", (handle,)) for handle in handles]
        if statements:
            self._store.write(*statements)
