"""Loads a language model, unloads it, and loads it again: the C calls, on the worker thread.

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

from rkllmd.abi.c import byref, c_void_p
from rkllmd.chat.templates import overview
from rkllmd.errors import InvalidParams, ModelNotInitialized, PermissionDenied, RpcError
from rkllmd.language import conversations
from rkllmd.language.caching import kept_conversations
from rkllmd.language.kv_cache import KvCache
from rkllmd.language.model import Adapter, Model
from rkllmd.language.models import cross_attention, demand, leaving, model_trial
from rkllmd.language.models.callbacks import give_callbacks
from rkllmd.machine import paths
from rkllmd.machine.c_runtime import no_handle
from rkllmd.machine.disk.seeing import Viewer
from rkllmd.machine.disk.unchanged import unchanged
from rkllmd.machine.files import WatchedFile, identify
from rkllmd.npu.times import estimates
from rkllmd.portable import gguf
from rkllmd.trials import trial

if TYPE_CHECKING:
    from rkllmd.language.models.recipe import Recipe
    from rkllmd.language.parts import Language
    from rkllmd.language.runtime import Runtime
    from rkllmd.trials.trial import Trial

log = structlog.get_logger()

# What is set again after a load. Not the prompt cache: it only saves time, and its file may be gone.
_SET_AGAIN: Final = ("rkllm_set_chat_template", "rkllm_set_function_tools")
# I rkllm: rkllm-toolkit version: 1.2.1, max_context_limit: 4096, npu_core_num: 3, target_platform: RK3588 …
_CORES: Final = re.compile(r"\bnpu_core_num: (\d+)")
# Models whose rkllm_destroy failed: C may still call back and read what they hold, so they are never freed.
_NOT_DESTROYED: Final[set[Model]] = set()


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
    model.npu_cores = _cores_said(_init(language, model))
    taken = available - language.memory_guard.machine_available_bytes - model.optional_bytes
    language.memory_guard.footprints.learn(model.demand, taken)
    try:
        check_cores(model, recipe)
        for adapter in recipe.adapters:
            give_adapter(language, model, adapter)
            model.adapters.append(adapter)
        if recipe.chat_template is not None:
            give_strings(language.runtime, model, "rkllm_set_chat_template", recipe.chat_template)
    except BaseException:
        _destroy(language, model)
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
        _give_back(language, model)


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
    _destroy(language, model)
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
        _init(language, model)
        try:
            _set_again(language, model)
        except BaseException:
            _destroy(language, model)
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
        give_adapter(language, model, adapter)
    for function, values in list(model.strings.items()):
        if function in _SET_AGAIN:
            give_strings(language.runtime, model, function, values)


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


def give_adapter(language: Language, model: Model, adapter: Adapter) -> None:
    """Load a LoRA adapter beside the model. Raises RuntimeFailure, PermissionDenied."""
    runtime = language.runtime
    path = os.fsdecode(adapter.struct.lora_adapter_path)
    file, watched = identify(path), _watched(runtime, path)
    with unchanged([path], language.config.allowed_directories, adapter.seen_by):
        runtime.call("rkllm_load_lora", model.pointer, byref(adapter.struct), on=model)
    model.lora_files[adapter.name] = file
    model.watched_files += watched


def give_strings(runtime: Runtime, model: Model, function: str, values: Sequence[bytes]) -> None:
    """Call a C function with strings, which it may or may not copy: those of its last call stay alive.

    They are given again when the model is loaded again. Raises RuntimeFailure.
    """
    given = [*values]
    try:
        runtime.call(function, model.pointer, *given, on=model)
    except RpcError:
        # C may have kept these or the ones before, so both stay alive, but no more than these two: otherwise a client
        # that tries again and again would fill the memory.
        model.refused_strings[function] = given
        raise
    model.refused_strings.pop(function, None)
    if function == "rkllm_set_chat_template":
        model.is_bare = False
    model.strings.pop(function, None)  # so that the last call comes last in the order
    model.strings[function] = given


def _init(language: Language, model: Model) -> list[str]:
    """Call rkllm_init; return what the runtime has printed.

    If it fails, the other models are in doubt: a failed load has been seen to kill them.
    """
    language.states.release()  # their memory counts as given back
    watched = _watched(language.runtime, model.path)
    pointer = c_void_p()  # not model.pointer, which the event loop reads, until the load is complete
    files = [path for path in (model.path, *model.callback_files) if path is not None]
    try:
        files_seen = dict.fromkeys([*files, *model.seen_by])
        with unchanged(files_seen, language.config.allowed_directories, model.seen_by):
            status, lines = language.runtime.invoke(
                "rkllm_init", byref(pointer), byref(model.param), model.callback, on=model
            )
    except PermissionDenied:
        if pointer:
            model.pointer = pointer
            _destroy(language, model)
        raise
    if status == 0 and not pointer:
        status = -1  # some versions return 0 for a failed load and leave the handle empty
    if status != 0:
        for other in language.models:
            other.is_in_doubt = other.is_in_doubt or not other.is_asleep
        raise no_handle("rkllm_init", status, lines)
    if language.runtime.name == "portable":  # where a .rkllm file has it is not published
        with contextlib.suppress(OSError):
            model.embedding_width = gguf.embedding_width(model.path)
            model.pooling = model.pooling or gguf.pooling(model.path)
    model.overview = overview.of_model(model.tokenizer, model.path if language.runtime.name == "portable" else None)
    _learn(language, model, pointer)
    model.pointer = pointer
    model.is_bare = False
    model.watched_files = watched
    return lines


def _watched(runtime: Runtime, path: str) -> list[WatchedFile]:
    """Return the file as it is now, or nothing if the runtime is known to keep a copy. Raises OSError."""
    return [] if runtime.name == "portable" else [WatchedFile(path)]


def _learn(language: Language, model: Model, pointer: c_void_p) -> None:
    """Note what the runtime says about the loaded model, if it has a function for that."""
    extension = language.runtime.extension
    known = None if extension is None else extension.describe(pointer)
    if known is None:
        return
    model.max_context_len, model.trained_context_len = known.context_len, known.trained_context_len
    model.chat_template = known.chat_template
    model.bos_token, model.eos_token = known.bos_token or None, known.eos_token or None
    # A context length that nobody asked for is chosen by the available memory, so the model does not need it.
    model.optional_bytes = known.context_bytes if model.param.max_context_len <= 0 else 0


def _destroy(language: Language, model: Model) -> None:
    """Give the C handle back; a failure is only logged, since this happens on the way of something else."""
    try:
        _give_back(language, model)
    except RpcError as error:
        log.error("model_not_unloaded", model_path=model.path, error=error.to_json())


def _give_back(language: Language, model: Model) -> None:
    """Call rkllm_destroy; the C handle is not used again, whatever that returns. Raises RuntimeFailure."""
    pointer, model.pointer = model.pointer, c_void_p()
    model.watched_files = []
    language.states.release()
    if model.vision is not None:
        language.pictures.release(model.vision)
    try:
        language.runtime.call("rkllm_destroy", pointer, on=model)
    except RpcError:
        _NOT_DESTROYED.add(model)
        raise


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
