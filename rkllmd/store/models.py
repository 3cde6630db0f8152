"""The language models that are loaded, by their handles: from what each was made."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from rkllmd.json_types import JsonObject
from rkllmd.store.learned import Learned
from rkllmd.store.store import Store


class KeptModels:
    """The table ``models``; what is in a row is up to ``language/models/remembered.py``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = Learned[int, JsonObject](
            store,
            "models",
            ("handle", "made_from"),
            lambda made_from: (orjson.dumps(made_from),),
            lambda content: dict(orjson.loads(content)),
        )

    def read(self) -> list[tuple[int, JsonObject]]:
        """Return the handles and what the models were made from, in the order in which they were loaded."""
        return list(self._table.read().items())

    def put(self, handle: int, made_from: JsonObject) -> None:
        """Write what a model is made from; before, it may have been something else."""
        self._table.put({handle: made_from})

    def wait(self, seconds: float) -> None:
        """Wait until all of it is written, so that no crash of the process can undo it, or for so long."""
        self._store.wait(seconds=seconds)

    def drop(self, handles: Iterable[int]) -> None:
        """Forget models."""
        self._table.put(dict.fromkeys(handles))
