"""The prompt caches that the daemon keeps for conversations, so that they need not be read again after others' turns.

The portable runtime writes the whole cache to a file when another conversation takes its place, and puts it back. With
the vendor's, a run saves the prompt that it reads, and a later one finds it by ``rkllm_load_prompt_cache``, if the
configuration trusts that.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from rkllmd.abi.c import c_void_p, pointer
from rkllmd.abi.layouts.rkllm_common import RKLLMPromptCacheParam
from rkllmd.errors import RpcError
from rkllmd.language.caching import notes
from rkllmd.language.caching.made_with import of_model as made_with_now
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat, common_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from rkllmd.abi.c import Struct
    from rkllmd.language.chats.text import Text
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.prompt_caches.store import PromptCache, Saving

log = structlog.get_logger()

_Call: TypeAlias = "Callable[[c_void_p, Path], int]"

_OWNERS: Final = "session-"
# A shorter beginning, in characters, is read as fast as a file.
_WORTH: Final = 64


def keep_held(language: Language, model: Model, but: str = "") -> None:
    """Write the conversation in the KV cache to a file, unless ``but``, the next one's text, goes on with most of it.

    Where the runtime can't, or the configuration does not want it, nothing is done.
    """
    extension, owner, held = language.runtime.extension, model.kv_cache.owner, model.kv_cache.held
    if extension is None or held is None or held.has_media or not isinstance(owner, Chat):
        return
    if not _may_use(language, model):
        return
    text = str(held.text)
    if len(text) - common_length(text, but) < _WORTH or _is_kept(language, owner, model, held):
        return
    name = language.kept_chats.new_name()
    try:
        saving = language.prompt_caches.begin(_owner(owner.user), name, [])
    except RpcError as error:
        log.debug("conversation_not_kept", reason=error.message)
        return
    if _through(language, model, "rkllm_portable_save", extension.save, saving.path):
        _commit(language, model, saving, KeptChat(name, owner, model.path, held))
    else:
        language.prompt_caches.discard(saving)


def bring_back(language: Language, model: Model, chat: Chat, basis: str, whole: str) -> None:
    """Put into the KV cache what of a conversation is kept, if that is more than the cache has of it.

    Before that, what the cache holds is kept. Raises nothing that a run would have to fail for.
    """
    extension = language.runtime.extension
    if extension is None or not _may_use(language, model):
        return
    keep_held(language, model, whole)
    owner, held = model.kv_cache.owner, model.kv_cache.held
    is_own = isinstance(owner, Chat) and owner.user == chat.user and held is not None and held.basis == basis
    has = common_length(str(held.text), whole) if is_own and held is not None else 0
    kept, common = language.kept_chats.best(chat.user, model.path, basis, whole)
    if kept is None or common < has + _WORTH:
        return
    cache = _open(language, model, kept)
    if cache is not None and _through(language, model, "rkllm_portable_restore", extension.restore, cache.path):
        model.kv_cache.clear()
        model.kv_cache.take_turn(chat, keep_history=True)


class SavedByRuns:
    """The caches of one run, where runs save and use them: the one that is loaded for it, and the next one."""

    def __init__(self, language: Language, model: Model, parameters: Struct, chat: Chat) -> None:
        """``parameters``: the run's RKLLMInferParam, which says what it saves."""
        self._language = language
        self._model = model
        self._parameters = parameters
        self._chat = chat
        self._loaded: PromptCache | None = None
        self._saving: Saving | None = None
        self._kept: KeptChat | None = None
        # Whether a cache may be used at all: not after a run has failed with one.
        self._may_use = True
        # What C may read during the run.
        self._keep: list[object] = []

    def use(self, basis: str, whole: Text, lora: str | None) -> None:
        """Load what fits the conversation, and let the run save it as it will be; it runs without that as well."""
        language, model, parameters = self._language, self._model, self._parameters
        if (
            language.runtime.extension is not None
            or not self._may_use
            or not _may_use(language, model)
            or parameters.prompt_cache_params
        ):
            return
        kept, common = language.kept_chats.best(self._chat.user, model.path, basis, str(whole))
        if kept is not None and common >= _WORTH:
            self._load(kept)
        self._begin_saving(Held(basis, (), whole, lora=lora))

    @property
    def has_loaded(self) -> bool:
        """Return whether the run reads its beginning from a cache."""
        return self._loaded is not None

    def _load(self, kept: KeptChat) -> None:
        cache = _open(self._language, self._model, kept)
        if cache is None:
            return
        try:
            self._language.runtime.call("rkllm_load_prompt_cache", self._model.pointer, bytes(cache.path))
        except RpcError as error:
            log.debug("conversation_not_loaded", reason=error.message)
        else:
            self._loaded = cache

    def _begin_saving(self, held: Held) -> None:
        language = self._language
        name = language.kept_chats.new_name()
        try:
            self._saving = language.prompt_caches.begin(_owner(self._chat.user), name, [])
        except RpcError as error:
            log.debug("conversation_not_kept", reason=error.message)
            return
        self._kept = KeptChat(name, self._chat, self._model.path, held)
        cache = RKLLMPromptCacheParam(1, bytes(self._saving.path))
        self._keep.append(cache)
        self._parameters.prompt_cache_params = pointer(cache)

    def give_up(self) -> bool:
        """Take the caches away from the run; return whether there were any."""
        if self._saving is None and self._loaded is None:
            return False
        self._may_use = False
        if self._saving is not None:
            self._language.prompt_caches.discard(self._saving)
            self._parameters.prompt_cache_params = None
            self._saving = None
        self._release()
        self._loaded = None
        return True

    def end(self, *, succeeded: bool) -> None:
        """Keep or remove what was saved, and release what was loaded."""
        language, model = self._language, self._model
        if self._saving is not None and self._kept is not None and succeeded:
            _commit(language, model, self._saving, self._kept, self._loaded)
        elif self._saving is not None:
            language.prompt_caches.discard(self._saving)
        self._release()

    def _release(self) -> None:
        if self._loaded is not None and self._model.pointer:
            try:
                self._language.runtime.call("rkllm_release_prompt_cache", self._model.pointer)
            except RpcError as error:
                log.warning("conversation_not_released", error=error.to_json())


def forget(language: Language, is_gone: Callable[[KeptChat], bool]) -> None:
    """Remove the caches of conversations for which ``is_gone`` is true."""
    _drop(language, language.kept_chats.remove(is_gone))


def take_over(language: Language) -> None:
    """Know again what is in the caches that an earlier daemon has left, and remove the others. Before any is loaded."""
    caches = language.prompt_caches
    for owner in caches.owners(_OWNERS):
        user = owner.removeprefix(_OWNERS)
        for cache in reversed(caches.of(owner)):  # the one that was used last at the end
            kept = notes.read(cache.note, cache.name, None if user == "daemon" else int(user))
            cache.note = None  # it may be long, and is in memory once
            if kept is not None:
                language.kept_chats.add(kept)
    caches.keep_only(_OWNERS, [(_owner(kept.chat.user), kept.name) for kept in language.kept_chats.all])


def _may_use(language: Language, model: Model) -> bool:
    """Return whether the caches of conversations are used for this model.

    The vendor's runtime is not known to continue a conversation from one, and 1000 tokens take 100 MB on the disk.
    """
    setting = language.config.session_caches
    wanted = language.runtime.name == "portable" if setting == "auto" else setting == "always"
    is_free = model.prompt_cache is None and model.prompt_cache_path is None and model.n_batch == 1
    return wanted and is_free and language.prompt_caches.why_not() is None


def _is_kept(language: Language, chat: Chat, model: Model, held: Held) -> bool:
    kept, common = language.kept_chats.best(chat.user, model.path, held.basis, str(held.text))
    return kept is not None and len(str(held.text)) - common < _WORTH


def _through(
    language: Language, model: Model, function: str, call: Callable[[c_void_p, Path], int], path: Path
) -> bool:
    """Call a function of the portable library; return whether it has succeeded."""
    runtime = language.runtime
    mark = runtime.output.mark()
    with runtime.journal.calling(function, model):
        status = call(model.pointer, path)
    lines = runtime.output.since(mark)
    if status != 0:
        log.warning("conversation_cache_failed", function=function, runtime=lines)
    return status == 0


def _open(language: Language, model: Model, kept: KeptChat) -> PromptCache | None:
    """Return the file of a kept conversation; None if it is gone or does not fit any more."""
    made_with = made_with_now(language.runtime, model, kept.held.lora)
    try:
        cache = language.prompt_caches.open(_owner(kept.chat.user), kept.name, made_with)
    except RpcError as error:
        log.debug("conversation_not_loaded", reason=error.message)
        forget(language, lambda other: other is kept)
        return None
    language.prompt_caches.mark_used(cache)
    return cache


def _commit(
    language: Language, model: Model, saving: Saving, kept: KeptChat, loaded: PromptCache | None = None
) -> None:
    made_with = made_with_now(language.runtime, model, kept.held.lora)
    if language.prompt_caches.commit(saving, made_with, [loaded], notes.written(kept)) is None:
        _drop(language, language.kept_chats.add(kept))


def _drop(language: Language, gone: list[KeptChat]) -> None:
    for kept in gone:
        with contextlib.suppress(RpcError):  # the directory's limit has removed it
            language.prompt_caches.drop(_owner(kept.chat.user), kept.name, [])


def _owner(user: int | None) -> str:
    """Return the owner of a user's conversations: not the user itself, so that they can't clash with its names."""
    return f"{_OWNERS}{'daemon' if user is None else user}"
