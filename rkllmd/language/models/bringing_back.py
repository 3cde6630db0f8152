"""Makes the models of an earlier daemon again, from what is remembered of them (``language/remembered.py``).

They come back asleep: no C function is called, and the first call that needs one loads it, with its adapters, its chat
template and its function tools, as after every sleep; after a crash they are loaded at once (``runs/returning.py``).
What was in its KV cache is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from rkllmd.abi.json.convert import to_c
from rkllmd.calls import authority, handles
from rkllmd.errors import RpcError
from rkllmd.json_types import JsonObject
from rkllmd.language.model import Adapter, Model
from rkllmd.language.models import recipe as model_recipe
from rkllmd.language.models.loading import make

if TYPE_CHECKING:
    from rkllmd.language.parts import Language
    from rkllmd.machine.disk.seeing import Viewer

log = structlog.get_logger()

# For errors: no client has written it.
_WHERE: Final = "$"


class Returning(NamedTuple):
    """A model that has come back, and how the earlier daemon had it: loaded, with which prompt cache."""

    model: Model
    was_awake: bool
    prompt_cache: JsonObject | None


def bring_back(language: Language) -> list[Returning]:
    """Make the remembered models again, asleep, under their handles; return them. Before anything else is loaded.

    One that can't be made (its file has gone, the configuration allows it no more) stays remembered, and the log says
    why: its handle is not given to another.
    """
    found: list[Returning] = []
    for number, made_from in language.remembered.read():
        handles.begin_behind(number)
        try:
            model = _make(language, made_from)
        except (RpcError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            reason = error.to_json() if isinstance(error, RpcError) else str(error)
            log.warning("model_not_brought_back", handle=number, reason=reason)
            continue
        model.number = number
        language.models.restore(number, model)
        log.info("model_brought_back", handle=number, name=model.name, model_path=model.path)
        found.append(Returning(model, not made_from.get("is_asleep", False), made_from.get("prompt_cache")))
    return found


def _make(language: Language, made_from: JsonObject) -> Model:
    """Return the model, asleep. Raises RpcError, OSError, and what a row without sense raises."""
    recipe = model_recipe.make(language, made_from["given"], _WHERE, _viewer(language, made_from.get("seen_by")))
    sameness = recipe.sameness
    recipe.param.extend_param.base_domain_id = int(made_from["domain"])
    model = make(language, recipe)
    model.sameness = sameness
    model.is_asleep = True
    model.has_lost_cross_attention = bool(made_from.get("cross_attention"))
    user = made_from.get("user")  # daemons before this one did not note it: then it is the operators'
    model.user = None if user is None else int(user)
    given_adapters = made_from["adapters"]
    viewers = [_viewer(language, whom) for whom in made_from.get("adapters_seen_by", [None] * len(given_adapters))]
    model.adapters = [_adapter(language, *adapter) for adapter in zip(given_adapters, viewers, strict=True)]
    for name, values in made_from["strings"].items():
        model.strings[name] = [value.encode() for value in values]
    return model


def _viewer(language: Language, whom: JsonObject | None) -> Viewer | None:
    """Return who has to be allowed to read files that the client of an earlier daemon has named."""
    return None if whom is None else authority.viewer_of(int(whom["user"]), whom["groups"], language.config)


def _adapter(language: Language, given: JsonObject, viewer: Viewer | None) -> Adapter:
    library = language.runtime.library
    keep: list[object] = []
    struct = to_c(given, library.layout.structs["RKLLMLoraAdapter"], _WHERE, keep, runtime=library.runtime)
    seen_by = {} if viewer is None else {given["lora_adapter_path"]: viewer}
    return model_recipe.make_adapter(struct, given, keep, seen_by)
