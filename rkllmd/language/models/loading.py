"""Loads a language model, unloads it, and loads it again, on the worker thread; ``native.py`` makes the C calls.

A model keeps everything that it was made from, so the same object and handle can get a new C handle: after a sleep,
after the failure of a load that was to replace it, and after a failed load beside it has killed it. Its adapters, chat
template and function tools come back; its conversation, its prompt cache and its cross-attention are gone.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.errors import InvalidParams, ModelNotInitialized, RpcError
from rkllmd.language import conversations
from rkllmd.language.caching import kept_conversations
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.model import Model
from rkllmd.language.models import cross_attention, demand, leaving, model_trial, native
from rkllmd.language.models.callbacks import give_callbacks
from rkllmd.machine import paths
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.disk.unchanged import unchanged
from rkllmd.machine.files import identify
from rkllmd.npu.times import estimates
from rkllmd.trials import trial

if TYPE_CHECKING:
    from rkllmd.language.models.recipe import Recipe
    from rkllmd.language.parts import Language
    from rkllmd.trials.trial import Trial

log = structlog.get_logger()

# What is set again after a load. Not the prompt cache: it only saves time, and its file may be gone.
_SET_AGAIN: Final = ("rkllm_set_chat_template", "rkllm_set_function_tools")
# I rkllm: rkllm-toolkit version: 1.2.1, max_context_limit: 4096, npu_core_num: 3, target_platform: RK3588 …
_CORES: Final = re.compile(r"\bnpu_core_num: (\d+)")


def make(language: Language, recipe: Recipe) -> Model:
    """Return a model with its callbacks that is not loaded yet. Raises InvalidParams, NotSupported for their files."""
    param = recipe.param
    model = Model(
        library=language.runtime.library,
        path=recipe.path,
        size_bytes=recipe.size_bytes,
        demand=recipe.demand,
        n_batch=max(1, param.extend_param.n_batch),
        max_new_tokens=param.max_new_tokens,
        max_context_len=param.max_context_len,
        is_async=bool(param.is_async),
        param=param,
        given=recipe.given,
        name=recipe.name,
        idle_minutes=recipe.idle_minutes,
        coalesce=recipe.coalesce,
        dialect=recipe.dialect,
        vision=recipe.vision,
        swap=recipe.swap,
        pooling=recipe.pooling,
        keep_alive=[recipe.keep],
        file=identify(recipe.path),
        kv_cache=KvCache(partial(conversations.can_hear, language)),
        callback_files=(recipe.tokenizer_path, recipe.embedding_path),
        tokenizer=recipe.tokenizer,
        seen_by=recipe.seen_by,
    )
    give_callbacks(model, recipe)
    return model


def load(language: Language, model: Model, recipe: Recipe) -> None:
    """Load a model that ``make`` has made and that has no handle yet. Raises RuntimeFailure; it is not loaded then."""
    started_at, available = time.monotonic(), language.memory_guard.machine_available_bytes
    model.npu_cores = _cores_said(native.init(language, model))
    taken = available - language.memory_guard.machine_available_bytes - model.optional_bytes
    language.memory_guard.footprints.learn(model.demand, taken)
    try:
        check_cores(model, recipe)
        for adapter in recipe.adapters:
            native.give_adapter(language, model, adapter)
            model.adapters.append(adapter)
        if recipe.chat_template is not None:
            native.give_strings(language.runtime, model, "rkllm_set_chat_template", recipe.chat_template)
    except BaseException:
        native.destroy(language, model)
        raise
    _count(language, model, time.monotonic() - started_at)


def check_cores(model: Model, recipe: Recipe) -> None:
    """Refuse a number of NPU cores that the model's file was not converted for. Raises InvalidParams."""
    if recipe.npu_cores in (None, model.npu_cores):
        return
    said = (
        "the runtime does not say for how many NPU cores the file was converted; leave it out."
        if model.npu_cores is None
        else f"the file was converted for {model.npu_cores} NPU cores, and no load changes that."
    )
    raise InvalidParams(
        f"num_npu_core: {said}", path=f"{recipe.where}.num_npu_core", keyword="const", limit=model.npu_cores
    )


def _cores_said(lines: Sequence[str]) -> int | None:
    """Return the number of NPU cores that the runtime printed while it loaded a file; None if it printed none."""
    found = [match for line in lines if (match := _CORES.search(line))]
    return int(found[-1].group(1)) if found else None


def unload(language: Language, model: Model, by: int | None = None) -> None:
    """Unload a model for good, for the client ``by``. Raises RuntimeFailure; its handle is dead then too."""
    forget(language, [model], by)
    if model.pointer:
        native.give_back(language, model)


def forget(language: Language, models: Sequence[Model], by: int | None = None) -> None:
    """Remove the handles of models that are asleep or about to be unloaded, for the client ``by``."""
    for model in models:
        language.models.remove(model.number)
        model.is_asleep = False
        conversations.carry_over(language, model, by)
    language.remembered.drop(models)


def put_to_sleep(language: Language, model: Model) -> None:
    """Unload a model but keep its handle; nothing happens if it sleeps already."""
    if model.is_asleep:
        return
    kept_conversations.keep_over_unload(language, model)
    model.is_asleep = True
    model.kv_cache.lose()
    model.kv_cache_sizes = [0] * model.n_batch
    model.is_in_doubt = False
    model.prompt_cache = model.prompt_cache_path = None
    native.destroy(language, model)
    cross_attention.lose(model)


def wake(language: Language, model: Model) -> None:
    """Load a model again, if it fits; others sleep in its place where that is needed. Nothing happens if it is awake.

    Raises Quarantined, OutOfMemory, and what ``load_again`` raises.
    """
    if not model.is_asleep:
        return
    trial.refuse_set_aside(language, model.path)
    others = leaving.for_one_more(language)
    language.memory_guard.check(model.demand, leaving.given_back(language, others))
    for other in others:
        put_to_sleep(language, other)
        language.remembered.put(other)
        log.info("model_asleep", handle=other.number, name=other.name, model_path=other.path, woken=model.number)
    if others:  # how much memory they have given back is known only now
        language.memory_guard.check(model.demand)
    _avoid_domains_of_others(language, model)
    load_again(language, model)
    language.remembered.keep(model)  # not earlier: a load that crashes the daemon is not tried again by itself


def _avoid_domains_of_others(language: Language, model: Model) -> None:
    """Give a model another memory domain if one that was loaded meanwhile has its own."""
    used = {other.domain for other in language.models if not other.is_asleep}
    if model.domain in used:
        model.param.extend_param.base_domain_id = min(set(range(len(used) + 1)) - used)


def load_again(language: Language, model: Model) -> None:
    """Load a sleeping model again with what was set. Raises RuntimeFailure, ModelNotInitialized; it sleeps on then.

    The caller checks the memory, which is not needed if the model was unloaded a moment ago.
    """
    _check_files(language, model)
    started_at = time.monotonic()
    job = language.npu.queue.running
    with contextlib.nullcontext() if job is None else job.loading():  # this part of the call may take as long as a load
        try_files(language, model_trial.of_model(language, model), _seen_by(model))
        native.init(language, model)
        try:
            _set_again(language, model)
        except BaseException:
            native.destroy(language, model)
            raise
    model.loaded_at = time.monotonic()
    model.is_asleep = False
    _count(language, model, model.loaded_at - started_at)
    log.info(
        "model_loaded_again",
        handle=model.number,
        name=model.name,
        model_path=model.path,
        seconds=round(model.loaded_at - started_at, 3),
    )


def _set_again(language: Language, model: Model) -> None:
    """Give a model that was loaded again what it had before."""
    for adapter in model.adapters:
        native.give_adapter(language, model, adapter)
    for function, values in list(model.strings.items()):
        if function in _SET_AGAIN:
            native.give_strings(language.runtime, model, function, values)


def _count(language: Language, model: Model, seconds: float) -> None:
    """Count a load, and learn how long it takes; on the worker thread."""
    npu, name = language.npu, model.name

    def note() -> None:
        npu.metrics.loads.observe(seconds, npu.metrics.model(name, model.path))
        npu.durations.add(estimates.LOAD, model.path, seconds * 1000)

    language.run_soon(note)


def try_files(language: Language, trials: Iterable[Trial | None], seen_by: Mapping[str, Viewer]) -> None:
    """Try files that were never loaded before (``trials/trial.py``); ``seen_by``: as for ``unchanged``.

    Raises RuntimeFailure, Cancelled, PermissionDenied.
    """
    with unchanged(seen_by, language.config.allowed_directories, seen_by):
        for item in trials:
            if item is not None:
                trial.run(language, item)


@contextmanager
def using(language: Language, target: object, *, wakes: bool) -> Iterator[None]:
    """Surround a call on the worker thread; a sleeping model that the call is for is loaded first if ``wakes``."""
    if not isinstance(target, Model):
        yield
        return
    if wakes:
        wake(language, target)
    try:
        yield
    finally:
        target.used_at = time.monotonic()


def _seen_by(model: Model) -> Mapping[str, Viewer]:
    """Return who has to be allowed to read the files of a model and of its adapters, by their paths."""
    return ChainMap(dict(model.seen_by), *(dict(adapter.seen_by) for adapter in model.adapters))


def _check_files(language: Language, model: Model) -> None:
    """Refuse a load if a file is missing: the vendor's library has ended the process because of that."""
    files = [model.path, *(os.fsdecode(adapter.struct.lora_adapter_path) for adapter in model.adapters)]
    seen_by = _seen_by(model)
    try:
        for file in files:
            paths.readable_file(file, language.config.allowed_directories, None, viewer=seen_by.get(file))
    except RpcError as error:
        raise ModelNotInitialized(
            f"The model can't be loaded again: {error.message}", handle=model.number, model_path=model.path
        ) from None
    model.size_bytes = Path(model.path).stat().st_size
    model.demand = demand.of(language.runtime, model.path, model.size_bytes, model.param)
    model.file = identify(model.path)
