"""How likely the tokens of an answer were: how people's protocols ask for it, and what a result tells of it."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import Json, JsonObject

# How many of the likeliest tokens can be told with each.
_MOST: Final = 20


def take(fields: Fields) -> JsonObject:
    """Take ``logprobs`` and ``top_logprobs``; return the parameters of a run that they are. Raises WrongField."""
    wanted, top = fields.flag("logprobs"), number(fields, "top_logprobs")
    if top and not wanted:
        raise fields.wrong("top_logprobs", "needs logprobs: true.")
    return {"logprobs": top or 0} if wanted else {}


def number(fields: Fields, name: str) -> int | None:
    """Take of how many of the likeliest tokens is to be told. Raises WrongField."""
    top = fields.integer(name, 0)
    if top is not None and top > _MOST:
        raise fields.wrong(name, f"can be {_MOST} at most.")
    return top


class Told:
    """What the results of an answer tell, until a piece of the answer takes it along."""

    def __init__(self) -> None:
        """Begin with nothing; that is also what is told where nobody has asked."""
        self._tokens: list[JsonObject] = []

    def add(self, result: JsonObject) -> None:
        """Take what a result tells."""
        self._tokens += result.get("logprobs") or ()

    def take(self) -> list[JsonObject]:
        """Return the tokens that were told since, as the daemon has them; each is returned once."""
        found, self._tokens = self._tokens, []
        return found


def shown(tokens: list[JsonObject]) -> list[Json]:
    """Return tokens as OpenAI's chats and Ollama have them."""
    return [{**_one(token), "top_logprobs": [_one(other) for other in token["top_logprobs"]]} for token in tokens]


def _one(token: JsonObject) -> JsonObject:
    return {name: token[name] for name in ("token", "logprob", "bytes")}
