"""The trials of what a language model is made from: its file, its adapters, a prompt cache. No C is called here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rkllmd.abi.c import Struct, c_char_p
from rkllmd.json_types import JsonObject
from rkllmd.trials.trial import Files, Trial, is_on, key_of

if TYPE_CHECKING:
    from rkllmd.language.model import Adapter, Model
    from rkllmd.language.models.recipe import Recipe
    from rkllmd.language.parts import Language

# A trial of an adapter needs no long context for the model beside it. Nor does a trial of a model whose context length
# follows from the available memory: it would fill all of that.
_SHORT_CONTEXT: Final = 256
_NO_FILES: Final = (None, None)


def of_recipe(language: Language, recipe: Recipe) -> list[Trial]:
    """Return the trials of a model that is to be loaded with its adapters. Raises OSError for a file that is gone."""
    files = (recipe.tokenizer_path, recipe.embedding_path)
    return _of_load(language, recipe.param, recipe.path, files, recipe.adapters)


def of_model(language: Language, model: Model) -> list[Trial]:
    """Return the trials of a model that is to be loaded again."""
    return _of_load(language, model.param, model.path, model.callback_files, model.adapters)


def of_adapter(language: Language, model: Model, adapter: Adapter) -> Trial | None:
    """Return the trial of an adapter that is to be loaded beside a loaded model."""
    return _of_adapter(language, model.param, model.path, adapter)


def of_prompt_cache(language: Language, model: Model, path: str) -> Trial | None:
    """Return the trial of a prompt cache for a loaded model."""
    return _trial(language, model.param, model.path, on_trial=path, files=model.callback_files, prompt_cache=path)


def _of_load(
    language: Language,
    param: Struct,
    path: str,
    files: tuple[str | None, str | None],
    adapters: Iterable[Adapter],
) -> list[Trial]:
    trials = [_trial(language, param, path, on_trial=path, files=files)]
    trials += [_of_adapter(language, param, path, adapter) for adapter in adapters]
    return [trial for trial in trials if trial is not None]


def _of_adapter(language: Language, param: Struct, model_path: str, adapter: Adapter) -> Trial | None:
    path = os.fsdecode(adapter.struct.lora_adapter_path)
    short = type(param).from_buffer_copy(param)
    short.max_context_len, short.extend_param.n_batch = _SHORT_CONTEXT, 1
    given = {"path": path, "name": adapter.name, "scale": float(adapter.struct.scale)}
    return _trial(language, short, model_path, on_trial=path, adapter=given)


def _trial(
    language: Language,
    param: Struct,
    model_path: str,
    *,
    on_trial: str,
    files: tuple[str | None, str | None] = _NO_FILES,
    adapter: JsonObject | None = None,
    prompt_cache: str | None = None,
) -> Trial | None:
    if not is_on(language):
        return None
    if param.max_context_len <= 0 and prompt_cache is None:
        param = type(param).from_buffer_copy(param)
        param.max_context_len = _SHORT_CONTEXT
    library = language.runtime.library
    on = Files([model_path, *files, None if adapter is None else adapter["path"], prompt_cache])
    if on.are_ours:
        return None
    request = {
        "runtime": "rkllm",
        "library": str(library.path),
        "layout": library.layout.name,
        "built_here": language.runtime.name == "portable",
        "param": _without_strings(param).hex(),
        "model_path": model_path,
        "tokenizer_path": files[0],
        "embedding_path": files[1],
        "adapter": adapter,
        "prompt_cache": prompt_cache,
    }
    built = [param.max_context_len, param.extend_param.n_batch]
    key = key_of("rkllm", str(library.path), library.version, library.layout.name, built, on.identities())
    return Trial(on_trial, request, key)


def _without_strings(param: Struct) -> bytes:
    """Return the bytes of an RKLLMParam without its pointers, which mean nothing in another process."""
    copy = type(param).from_buffer_copy(param)
    for name, kind, *_ in copy._fields_:
        if kind is c_char_p:
            setattr(copy, name, None)
    return bytes(copy)
