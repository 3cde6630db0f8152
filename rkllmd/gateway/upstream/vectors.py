"""Texts as vectors: a run of the model for each, or for a batch of them, in its turn among those of others."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from rkllmd.gateway.access_log import record
from rkllmd.gateway.embeddings.pooling import vectors_of
from rkllmd.gateway.embeddings.protocol import Vectors, WantedVectors, check_dimensions
from rkllmd.gateway.failures import Failure
from rkllmd.gateway.fields import Names
from rkllmd.gateway.run import Wanted, prompt_tokens
from rkllmd.gateway.upstream.connection import Connection
from rkllmd.gateway.upstream.run import Run
from rkllmd.gateway.upstream.upstream import Upstream
from rkllmd.json_types import JsonObject

_HIDDEN: Final = "RKLLM_INFER_GET_LAST_HIDDEN_LAYER"
# What the daemon calls the text of a run, as it was given and as C has it.
_TEXT: Final = ("prompt", "prompt_input")
_NOT_SUPPORTED: Final = "NotSupported"


async def vectors(upstream: Upstream, connection: Connection, wanted: WantedVectors) -> Vectors:
    """Return a vector for each text. Raises Failure, WrongField, ClientError."""
    # Of how many entries its batches are is known once it is loaded.
    model, _ = await Run(upstream, connection, Wanted(wanted.model), "rkllm.is_running").whole()
    runs = _Runs(upstream, connection, wanted.model)
    found: list[array[float]] = []
    tokens = 0
    for first in range(0, len(wanted.texts), model.n_batch):
        texts = wanted.texts[first : first + model.n_batch]
        names = _names(wanted.names, range(first, first + len(texts)), model.n_batch)
        result = await runs.result(_params(texts, model.n_batch), names)
        made = vectors_of(result, model.pooling, model.n_batch)[: len(texts)]
        check_dimensions(wanted, made[0])
        found += made
        tokens += _tokens(result, len(texts), model.n_batch)
    record.current().add(tokens)
    return Vectors(model.name, found, tokens)


def _params(texts: Sequence[str], n_batch: int) -> JsonObject:
    """Return the parameters of a run of this many inputs: where there are fewer texts, the last one stands again."""
    if n_batch == 1:
        return {"prompt": texts[0], "mode": _HIDDEN}
    inputs = [{"prompt": text} for text in (*texts, *[texts[-1]] * (n_batch - len(texts)))]
    return {"rkllm_input": inputs, "rkllm_infer_params": {"mode": _HIDDEN}}


def _names(of_texts: Names, places: range, n_batch: int) -> Names:
    """Return of which fields the texts of a run were made; ``places`` are theirs among all texts."""
    names = Names()
    if n_batch == 1:  # a run that is refused without a path, since it is too long, has this text only
        names.add("", of_texts.field(f"texts[{places.start}]"))
    for index, place in enumerate(places):
        where = "" if n_batch == 1 else f"rkllm_input[{index}]"
        for name in _TEXT if n_batch == 1 else ("", *_TEXT):
            names.add(f"{where}.{name}".strip("."), of_texts.field(f"texts[{place}]"))
    return names


def _tokens(result: JsonObject, texts: int, n_batch: int) -> int:
    """Return of how many tokens the texts were: in a batch, a row of hidden states for each."""
    if n_batch == 1:
        return prompt_tokens(result)
    return sum(int(layer["num_tokens"]) for layer in result["last_hidden_layer"][:texts])


class _Runs:
    """Runs of a model one after the other: without a chat template, unless the runtime can't do that for this model."""

    def __init__(self, upstream: Upstream, connection: Connection, model: str | None) -> None:
        self._upstream = upstream
        self._connection = connection
        self._model = model
        # Until the first of them was refused as such, which the others would be too.
        self._are_bare = True

    async def result(self, params: JsonObject, names: Names) -> JsonObject:
        """Return the result of one; ``names``: of which fields it was made. Raises Failure, ClientError."""
        if not self._are_bare:
            return await self._run(params, names)
        try:
            return await self._run({**params, "bare": True}, names)
        except Failure as error:
            if error.kind != _NOT_SUPPORTED:
                raise
        self._are_bare = False
        return await self._run(params, names)

    async def _run(self, params: JsonObject, names: Names) -> JsonObject:
        wanted = Wanted(self._model, params, names=names)
        _, result = await Run(self._upstream, self._connection, wanted, "rkllm.run", stream="final").whole()
        return result
