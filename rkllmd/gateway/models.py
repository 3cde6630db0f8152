"""Which model a client means by a name, among those that the daemon has (``server.status``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.json_types import JsonObject

# Clients of Ollama put it behind a name that has no tag.
_LATEST: Final = ":latest"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A language model that is loaded, or sleeps until it is called; ``context_length`` is None where not known."""

    name: str
    handle: int
    context_length: int | None = None
    trained_length: int | None = None
    size_bytes: int = 0
    is_asleep: bool = False
    unused_seconds: float = 0.0
    # What pictures its encoder takes (width, height, fit); None: it takes text only.
    vision: JsonObject | None = None


def served(status: JsonObject) -> list[ServedModel]:
    """Return the models that can be called: the name of the configuration, else that of the file, without its ending.

    Of two with one name, the first is meant by it, and the others by their handle behind it (``qwen#3``).
    """
    found: dict[str, ServedModel] = {}
    for item in status["models"]:
        name = item["name"] or item["model_path"].rpartition("/")[2].rpartition(".")[0] or str(item["handle"])
        if name in found:
            name = f"{name}#{item['handle']}"
        found[name] = ServedModel(
            name,
            item["handle"],
            item["max_context_len"] or None,
            item["trained_context_len"] or None,
            item["size_bytes"] or 0,
            item["state"] == "asleep",
            item["unused_s"],
            item["vision"],
        )
    return list(found.values())


def choose(status: JsonObject, name: str | None) -> ServedModel:
    """Return the model of this name; the only one for None. Raises Failure."""
    found = served(status)
    if name is None and len(found) == 1:
        return found[0]
    for item in found:
        if name in (item.name, item.name + _LATEST):
            return item
    if not found:
        raise Failure(
            503, "ModelNotInitialized", "No model is loaded: load one, or wait until that is done.", again=True
        )
    names = ", ".join(item.name for item in found)
    if name is None:
        raise Failure(400, "InvalidParams", f"model is missing: name one of those that are loaded ({names}).", "model")
    if name.removesuffix(_LATEST) in status["declared"]:
        message = f"The model {name} is declared and not loaded: load it first (loaded are: {names})."
    else:
        message = f"There is no model {name}: choose one of those that are loaded ({names})."
    raise Failure(404, "ModelNotInitialized", message, "model")
