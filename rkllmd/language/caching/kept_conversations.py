"""Which conversations are kept while others have the model, and how they come back: the C calls, on the worker thread.

The portable runtime gives all that its cache holds when another conversation takes its place, and takes it back. With
the vendor's, the runs themselves save it (``saved_by_runs.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.config.values import is_on
from rkllmd.language.caching.made_with import of_model as made_with_now
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat, common_length
from rkllmd.language.out_of_turn import files, notes

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.portable.extension import Extension

log = structlog.get_logger()

WORTH: Final = 64
"""A shorter beginning, in characters, is read as fast as a file."""


def keep_held(language: Language, model: Model, but: str = "") -> None:
    """Keep the conversation in the KV cache, unless ``but``, the next one's text, goes on with most of it.

    Where the runtime can't, or the configuration does not want it, nothing is done.
    """
    extension, owner, held = language.runtime.extension, model.kv_cache.owner, model.kv_cache.held
    if extension is None or held is None or held.has_media or not isinstance(owner, Chat):
        return
    if not may_use(language, model):
        return
    text = str(held.text)
    if len(text) - common_length(text, but) < WORTH or _is_kept(language, owner, model, held):
        return
    state = _take_state(language, extension, model)
    if state is None:
        return
    kept = KeptChat(language.kept_chats.new_name(), owner, model.path, held)
    drop(language, language.kept_chats.add(kept))
    if not language.states.put(kept, made_with_now(language.runtime, model, held.lora), state):
        language.kept_chats.remove(lambda other: other is kept)


def keep_over_unload(language: Language, model: Model, *, is_leaving: bool = False) -> None:
    """Keep the conversation in the KV cache of a model that is to be unloaded, in a file; ``is_leaving``: at the end.

    Of a session, nothing is left to the next daemon.
    """
    owner = model.kv_cache.owner
    ends_with_daemon = is_leaving and isinstance(owner, Chat) and owner.session is not None
    if not ends_with_daemon and language.prompt_caches.why_not() is None:
        keep_held(language, model)


def bring_back(language: Language, model: Model, chat: Chat, basis: str, whole: str) -> None:
    """Put into the KV cache what of a conversation is kept, if that is more than the cache has of it.

    Before that, what the cache holds is kept. Raises nothing that a run would have to fail for.
    """
    extension = language.runtime.extension
    if extension is None or not may_use(language, model):
        return
    keep_held(language, model, whole)
    held = model.kv_cache.held if model.kv_cache.is_of_user(chat.user) else None
    has = 0 if held is None or held.basis != basis else common_length(str(held.text), whole)
    kept, common = language.kept_chats.best(chat.user, model.path, basis, whole)
    if kept is None or common < has + WORTH:
        return
    state = _state_of(language, model, kept)
    if state is None:
        forget(language, lambda other: other is kept)
    elif _put_state(language, extension, model, state):
        model.kv_cache.clear()
        model.kv_cache.take_turn(chat, keep_history=True)


def forget(language: Language, is_gone: Callable[[KeptChat], bool]) -> None:
    """Forget the conversations for which ``is_gone`` is true, with their files."""
    drop(language, language.kept_chats.remove(is_gone))


def take_over(language: Language) -> None:
    """Know again what is in the caches that an earlier daemon has left, and remove the others. Before any is loaded."""
    caches = language.prompt_caches
    for owner in caches.owners(files.OWNERS):
        user = owner.removeprefix(files.OWNERS)
        for cache in reversed(caches.of(owner)):  # the one that was used last at the end
            kept = notes.read(cache.note, cache.name, None if user == "daemon" else int(user))
            cache.note = None  # it may be long, and is in memory once
            if kept is not None:
                language.kept_chats.add(kept)
    known = [(files.owner_of(kept.chat.user), kept.name) for kept in language.kept_chats.all]
    caches.keep_only(files.OWNERS, known)


def may_use(language: Language, model: Model) -> bool:
    """Return whether conversations of this model are kept.

    The vendor's runtime is not known to continue a conversation from a cache, and 1000 tokens take 100 MB on the disk.
    """
    wanted = is_on(language.config.session_caches, automatically=language.runtime.name == "portable")
    return wanted and model.prompt_cache is None and model.prompt_cache_path is None and model.n_batch == 1


def _is_kept(language: Language, chat: Chat, model: Model, held: Held) -> bool:
    kept, common = language.kept_chats.best(chat.user, model.path, held.basis, str(held.text))
    return kept is not None and len(str(held.text)) - common < WORTH and language.states.has(kept)


def _take_state(language: Language, extension: Extension, model: Model) -> bytearray | None:
    runtime = language.runtime
    mark, state = runtime.output.mark(), None
    try:
        with runtime.journal.calling("rkllm_portable_take_state", model):
            state = extension.take_state(model.pointer)
    except MemoryError:
        log.warning("conversation_not_kept", reason="There is not enough memory.")
    else:
        if state is None:
            log.warning("conversation_not_kept", runtime=runtime.output.since(mark))
    return state


def _put_state(language: Language, extension: Extension, model: Model, state: bytearray) -> bool:
    runtime = language.runtime
    mark = runtime.output.mark()
    with runtime.journal.calling("rkllm_portable_put_state", model):
        status = extension.put_state(model.pointer, state)
    if status != 0:
        log.warning("conversation_not_loaded", runtime=runtime.output.since(mark))
    return status == 0


def _state_of(language: Language, model: Model, kept: KeptChat) -> bytearray | None:
    """Return what was kept of a conversation, from memory or its file; None if it is gone or does not fit any more."""
    made_with = made_with_now(language.runtime, model, kept.held.lora)
    return language.states.get(kept, made_with) or files.read(language.prompt_caches, kept, made_with)


def drop(language: Language, gone: list[KeptChat]) -> None:
    """Remove what is kept of conversations that are forgotten."""
    for kept in gone:
        language.states.drop(kept)
