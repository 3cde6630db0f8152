"""The callbacks of a model: for the results of runs, and for the tokens and embeddings that a model file may lack."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import structlog

from rkllmd.abi import callbacks
from rkllmd.abi.c import byref
from rkllmd.abi.callbacks import Results

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.models.recipe import Recipe

log = structlog.get_logger()


def give_callbacks(model: Model, recipe: Recipe) -> None:
    """Make the last argument of rkllm_init. Raises InvalidParams, NotSupported for the files of the callbacks."""
    # Weak, since the model refers to the callback: otherwise what an unloaded model holds, such as the file of its
    # embeddings, would wait for the garbage collector.
    reference = weakref.ref(model)

    def on_result(results: Results, state: int) -> int:
        alive = reference()
        generation = None if alive is None else alive.generation
        return 0 if generation is None else generation.on_result(results, state)

    def report(what: str) -> None:
        log.error("runtime_callback_failed", reason=what)
        alive = reference()
        generation = None if alive is None else alive.generation
        if generation is not None:
            generation.callback_error = what

    callback = callbacks.result_callback(on_result, model.n_batch)
    if model.library.layout.name == "1.2":
        model.callback = callback
        return
    struct = model.library.layout.structs["RKLLMCallback"]()
    struct.result_callback = callback
    if recipe.tokenizer_path is not None:
        struct.tokenizer_callback = callbacks.tokenizer_callback(recipe.tokenizer_path, report)
    if recipe.embedding_path is not None:
        struct.embed_callback = callbacks.embedding_callback(recipe.embedding_path, report)
    model.keep_alive += [callback, struct]
    model.callback = byref(struct)
