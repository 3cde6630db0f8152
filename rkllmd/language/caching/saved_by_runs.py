"""The prompt caches that runs save of their conversations, with a runtime that can't give what its cache holds.

A run saves the prompt that it reads, and a later one finds it by ``rkllm_load_prompt_cache``, if the configuration
trusts that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from rkllmd.abi.c import pointer
from rkllmd.abi.layouts.rkllm_common import RKLLMPromptCacheParam
from rkllmd.errors import RpcError
from rkllmd.language.caching.kept_conversations import WORTH, drop, forget, may_use
from rkllmd.language.caching.made_with import of_model as made_with_now
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.out_of_turn import files

if TYPE_CHECKING:
    from rkllmd.abi.c import Struct
    from rkllmd.language.chats.text import Text
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.prompt_caches.store import PromptCache, Saving

log = structlog.get_logger()


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
            or not may_use(language, model)
            or language.prompt_caches.why_not() is not None
            or parameters.prompt_cache_params
        ):
            return
        kept, common = language.kept_chats.best(self._chat.user, model.path, basis, str(whole))
        if kept is not None and common >= WORTH:
            self._load(kept)
        self._begin_saving(Held(basis, (), whole, lora=lora))

    @property
    def has_loaded(self) -> bool:
        """Return whether the run reads its beginning from a cache."""
        return self._loaded is not None

    def _load(self, kept: KeptChat) -> None:
        language, model = self._language, self._model
        made_with = made_with_now(language.runtime, model, kept.held.lora)
        cache = files.open_file(language.prompt_caches, kept, made_with)
        if cache is None:
            forget(language, lambda other: other is kept)
            return
        try:
            language.runtime.call("rkllm_load_prompt_cache", model.pointer, bytes(cache.path))
        except RpcError as error:
            log.debug("conversation_not_loaded", reason=error.message)
        else:
            self._loaded = cache

    def _begin_saving(self, held: Held) -> None:
        language = self._language
        name = language.kept_chats.new_name()
        self._saving = files.begin(language.prompt_caches, self._chat.user, name)
        if self._saving is None:
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
            made_with = made_with_now(language.runtime, model, self._kept.held.lora)
            if files.commit(language.prompt_caches, self._saving, self._kept, made_with, [self._loaded]):
                drop(language, language.kept_chats.add(self._kept))
        elif self._saving is not None:
            language.prompt_caches.discard(self._saving)
        self._release()

    def _release(self) -> None:
        if self._loaded is not None and self._model.pointer:
            try:
                self._language.runtime.call("rkllm_release_prompt_cache", self._model.pointer)
            except RpcError as error:
                log.warning("conversation_not_released", error=error.to_json())
