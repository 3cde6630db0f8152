"""A language model as C has it: made, given adapters and strings, and given back. On the worker thread."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi.c import byref, c_void_p
from rkllmd.chat.templates import overview
from rkllmd.errors import PermissionDenied, RpcError
from rkllmd.language.model import Adapter, Model
from rkllmd.machine.c_runtime import no_handle
from rkllmd.machine.disk.unchanged import unchanged
from rkllmd.machine.files import WatchedFile, identify
from rkllmd.portable import gguf

if TYPE_CHECKING:
    from rkllmd.language.parts import Language
    from rkllmd.language.runtime import Runtime

log = structlog.get_logger()

# Models whose rkllm_destroy failed: C may still call back and read what they hold, so they are never freed.
_NOT_DESTROYED: Final[set[Model]] = set()


def init(language: Language, model: Model) -> list[str]:
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
            destroy(language, model)
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


def destroy(language: Language, model: Model) -> None:
    """Give the C handle back; a failure is only logged, since this happens on the way of something else."""
    try:
        give_back(language, model)
    except RpcError as error:
        log.error("model_not_unloaded", model_path=model.path, error=error.to_json())


def give_back(language: Language, model: Model) -> None:
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
