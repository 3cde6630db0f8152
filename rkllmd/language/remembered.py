"""Which language models are loaded, and from what: kept in the store, so that they can come back with their handles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from rkllmd.abi.json.from_c import from_c
from rkllmd.json_types import JsonObject

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.machine.disk.seeing import Viewer
    from rkllmd.store.models import KeptModels


# A disk that takes longer is not waited for.
_SECONDS: Final = 2.0


class RememberedModels:
    """What ``store/models.py`` keeps. It follows what is loaded; nothing that serves depends on it."""

    def __init__(self, kept: KeptModels | None = None) -> None:
        self._kept = kept
        # What is unloaded from then on is unloaded because the daemon leaves.
        self.is_leaving = False

    def put(self, model: Model) -> None:
        """Remember a model that has its handle, as it is now; from any thread."""
        if self._kept is not None:
            self._kept.put(model.number, _made_from(model))

    def keep(self, model: Model) -> None:
        """Remember a model as ``put`` does, and return when no crash can undo that; on the worker thread."""
        self.put(model)
        if self._kept is not None:
            self._kept.wait(_SECONDS)

    def drop(self, models: Iterable[Model]) -> None:
        """Remember models no longer; from any thread."""
        if self._kept is not None and not self.is_leaving:
            self._kept.drop(model.number for model in models)

    def read(self) -> list[tuple[int, JsonObject]]:
        """Return what is remembered: handles, and what each model was made from."""
        return [] if self._kept is None else self._kept.read()

    def clear(self) -> None:
        """Forget what an earlier daemon has remembered."""
        if self._kept is not None:
            self._kept.drop(number for number, _ in self._kept.read())


def _made_from(model: Model) -> JsonObject:
    return {
        "given": model.given,
        "user": model.user,
        "domain": model.domain,
        "seen_by": _whom(model.seen_by),
        "adapters": [from_c(adapter.struct) for adapter in model.adapters],
        "adapters_seen_by": [_whom(adapter.seen_by) for adapter in model.adapters],
        # Strings of the protocol, so UTF-8.
        "strings": {name: [value.decode() for value in values] for name, values in model.strings.items()},
        "is_asleep": model.is_asleep,
        "prompt_cache": _prompt_cache(model),
        "cross_attention": model.cross_attention_state is not None,
    }


def _prompt_cache(model: Model) -> JsonObject | None:
    """Return by which the loaded prompt cache is found again."""
    if model.prompt_cache is not None:
        return {"owner": model.prompt_cache.owner, "name": model.prompt_cache.name}
    return None if model.prompt_cache_path is None else {"path": model.prompt_cache_path}


def _whom(seen_by: Mapping[str, Viewer]) -> JsonObject | None:
    """Return who has named files, the same client all of them; None: nobody whose permissions count."""
    viewer = next(iter(seen_by.values()), None)
    return None if viewer is None else {"user": viewer.user, "groups": sorted(viewer.groups)}
