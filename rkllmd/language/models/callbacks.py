"""What C calls back: with the results of a run, and for the tokens and embeddings of a model that has neither."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import structlog

from rkllmd.abi import callbacks
from rkllmd.abi.c import byref
from rkllmd.abi.layouts.rkllm import LLMResultCallback

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.models.recipe import Recipe

log = structlog.get_logger()


def give_callbacks(model: Model, recipe: Recipe) -> None:
    """Make the last argument of rkllm_init. Raises InvalidParams, NotSupported for the files of the callbacks."""
    # Not the model itself, which has the callback: what an unloaded model holds, the file of its embeddings too, would
    # wait for the garbage collector.
    reference = weakref.ref(model)

    def on_result(results: Any, _userdata: Any, state: int) -> int:
        alive = reference()
        generation = None if alive is None else alive.generation
        return 0 if generation is None else generation.on_result(results, state)

    def report(what: str) -> None:
        log.error("runtime_callback_failed", reason=what)
        alive = reference()
        generation = None if alive is None else alive.generation
        if generation is not None:
            generation.callback_error = what

    callback = LLMResultCallback(on_result)
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
