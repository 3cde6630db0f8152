"""Which models there are for clients, and which one is meant by a name: those of ``server.status``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rkllmd.gateway.failures import Failure
from rkllmd.json_types import Json, JsonObject

# Clients of Ollama put it behind a name that has no tag.
_LATEST: Final = ":latest"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A language model that is loaded, sleeps until it is called, or is declared; None stands for what is not known.

    ``handle`` is None where it is declared and not loaded. ``swap``: the first call for it may load it.
    """

    name: str
    handle: int | None
    context_length: int | None = None
    trained_length: int | None = None
    size_bytes: int = 0
    is_asleep: bool = False
    # What pictures its encoder takes (width, height, fit); None: it takes text only.
    vision: JsonObject | None = None
    # How its hidden states become one embedding, if that is known.
    pooling: str | None = None
    # How many inputs each of its runs has.
    n_batch: int = 1
    # Whether it can think before it answers; None: nobody knows.
    thinks: bool | None = None
    # Whether it can fill in what stands between two texts; None: nobody knows.
    infills: bool | None = None
    is_loading: bool = False
    is_declared: bool = False
    swap: bool = False

    @property
    def is_loaded(self) -> bool:
        """Return whether it takes memory now."""
        return self.handle is not None and not self.is_asleep

    @property
    def capabilities(self) -> list[Json]:
        """Return what it is for, in Ollama's words.

        One whose file says how its rows are pooled makes embeddings. The daemon tells a model in words of functions for
        which its template has no place; reasoning is missing only where that is known.
        """
        if self.pooling is not None:
            return ["embedding"]
        thinking = () if self.thinks is False else ("thinking",)
        vision = () if self.vision is None else ("vision",)
        return ["completion", "tools", *(("insert",) if self.infills else ()), *thinking, *vision]

    @property
    def state(self) -> str:
        """Return its state as llama.cpp's server has it."""
        if self.is_loading:
            return "loading"
        if self.handle is None:
            return "unloaded"
        return "sleeping" if self.is_asleep else "loaded"


def served(status: JsonObject) -> list[ServedModel]:
    """Return the models that have a handle: the name of the configuration, else that of the file, without its ending.

    Of two with one name, the first is meant by it, and the others by their handle behind it (``qwen#3``). A name of the
    configuration never means another file: anybody may call a file so, and load it before.
    """
    loading = _path_that_loads(status)
    declared = {item["name"]: item for item in status["declared_models"]}
    given = {item["name"] for item in status["models"]}
    found: dict[str, ServedModel] = {}
    for item in status["models"]:
        name = item["name"] or item["model_path"].rpartition("/")[2].rpartition(".")[0] or str(item["handle"])
        is_taken = name in given or declared.get(name, item)["model_path"] != item["model_path"]
        if name in found or (is_taken and not item["name"]):
            name = f"{name}#{item['handle']}"
        is_asleep = item["state"] == "asleep"
        found[name] = ServedModel(
            name,
            item["handle"],
            item["max_context_len"] or None,
            item["trained_context_len"] or None,
            item["size_bytes"] or 0,
            is_asleep,
            item["vision"],
            item["pooling"],
            item["n_batch"],
            item["thinking"],
            item["infill"],
            is_asleep and item["model_path"] == loading,
            item["name"] in declared,
            bool(item["name"] in declared and declared[item["name"]]["swap"]),
        )
    return list(found.values())


def listed(status: JsonObject) -> list[ServedModel]:
    """Return those, and behind them the ones that the configuration declares and that have no handle."""
    loading = _path_that_loads(status)
    found = served(status)
    names = {item.name for item in found}
    return found + [
        ServedModel(
            item["name"],
            None,
            vision=item["vision"],
            is_loading=item["model_path"] == loading,
            is_declared=True,
            swap=bool(item["swap"]),
        )
        for item in status["declared_models"]
        if item["name"] not in names
    ]


def callable_now(status: JsonObject) -> list[ServedModel]:
    """Return the models that a request may name: those with a handle, and those that are loaded for it."""
    return [item for item in listed(status) if item.handle is not None or item.swap]


def choose(status: JsonObject, name: str | None) -> ServedModel:
    """Return the model of this name; for None the only one, or the only one that is loaded. Raises Failure."""
    found = callable_now(status)
    name = name or None  # clients that have nothing to name leave it empty
    if name is None:
        awake = [item for item in found if item.is_loaded]
        only = found if len(found) == 1 else awake
        if len(only) == 1:
            return only[0]
    if (named := by_name(found, name)) is not None:
        return named
    if not found:
        raise Failure(
            503, "ModelNotInitialized", "No model is loaded: load one, or wait until that is done.", again=True
        )
    names = ", ".join(item.name for item in found)
    if name is None:
        raise Failure(400, "InvalidParams", f"model is missing: name one of those that are served ({names}).", "model")
    if by_name(listed(status), name) is not None:
        message = f"The model {name} is declared and not loaded: load it first, or declare it with swap = true."
    else:
        message = f"There is no model {name}: choose one of those that are served ({names})."
    raise Failure(404, "ModelNotInitialized", message, "model")


def find(status: JsonObject, name: str | None) -> ServedModel:
    """Return the model of this name, loaded or not; for None the only one. Raises Failure."""
    found = listed(status)
    name = name or None
    named = found[0] if name is None and len(found) == 1 else by_name(found, name)
    if named is None:
        names = ", ".join(item.name for item in found) or "none"
        if name is None:
            raise Failure(
                400, "InvalidParams", f"model is missing: name one of those that there are ({names}).", "model"
            )
        raise Failure(404, "ModelNotInitialized", f"There is no model {name}: there are {names}.", "model")
    return named


def by_name(found: list[ServedModel], name: str | None) -> ServedModel | None:
    """Return the model of this name, also with Ollama's tag behind it."""
    return next((item for item in found if name in (item.name, item.name + _LATEST)), None)


def _path_that_loads(status: JsonObject) -> str | None:
    """Return the path of the model that the call which has its turn is for, where that call may be loading it."""
    current = status.get("current")  # what keeps models in mind does not know it
    return None if current is None else current["model_path"]
