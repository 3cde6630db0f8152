"""The prompt caches that the daemon keeps for sessions, so that most of one need not be read again.

If somebody else has used the model meanwhile, a session is told from its beginning. If the runtime is known to continue
from a prompt cache, one is saved with that run, and loaded the next time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi.c import pointer
from rkllmd.abi.layouts.rkllm_common import RKLLMPromptCacheParam
from rkllmd.errors import RpcError
from rkllmd.language.runs.made_with import of_model as made_with_now

if TYPE_CHECKING:
    from rkllmd.language.parts import Language
    from rkllmd.language.prompt_caches.store import PromptCache, Saving
    from rkllmd.language.runs.run import Run
    from rkllmd.language.sessions.sessions import Session

log = structlog.get_logger()

_OWNERS: Final = "session-"


class SessionCaches:
    """The caches of one run: the one that is loaded for it, and the one that it saves."""

    def __init__(self, run: Run, session: Session) -> None:
        self._run = run
        self._session = session
        self._loaded: PromptCache | None = None
        self._saving: Saving | None = None
        # Whether a cache may be used at all: not after a run has failed with one.
        self._may_use = True
        # What C may read during the run.
        self._keep: list[object] = []

    def use(self) -> None:
        """Load the session's cache if there is one that fits, and let the run save another; it runs without as well."""
        parameters = self._run.parameters
        # What the model computes with an adapter can't be used without that adapter.
        if (
            self._may_use
            and _are_used(self._run.language)
            and not parameters.prompt_cache_params
            and not parameters.lora_params
        ):
            self._load()
            self._begin_saving()

    def _load(self) -> None:
        language, model = self._run.language, self._run.model
        caches = language.prompt_caches
        if not self._session.turns or model.prompt_cache is not None:
            return
        try:
            cache = caches.open(
                owner_of(self._session), self._session.cache_name, made_with_now(language.runtime, model, None)
            )
            language.runtime.call("rkllm_load_prompt_cache", model.pointer, bytes(cache.path))
        except RpcError as error:
            log.debug("session_cache_not_loaded", session=self._session.number, reason=error.message)
            return
        self._loaded = cache
        caches.mark_used(cache)

    def _begin_saving(self) -> None:
        try:
            self._saving = self._run.language.prompt_caches.begin(owner_of(self._session), self._session.cache_name, [])
        except RpcError as error:
            log.debug("session_cache_not_saved", session=self._session.number, reason=error.message)
            return
        cache = RKLLMPromptCacheParam(1, bytes(self._saving.path))
        self._keep.append(cache)
        self._run.parameters.prompt_cache_params = pointer(cache)

    def give_up(self) -> bool:
        """Take the caches away from the run; return whether there were any."""
        if self._saving is None and self._loaded is None:
            return False
        self._may_use = False
        if self._saving is not None:
            self._run.language.prompt_caches.discard(self._saving)
            self._run.parameters.prompt_cache_params = None
            self._saving = None
        self._release()
        self._loaded = None
        return True

    def end(self, *, succeeded: bool) -> None:
        """Keep or remove what was saved, and release what was loaded."""
        language, model = self._run.language, self._run.model
        if self._saving is not None and succeeded:
            made_with = made_with_now(language.runtime, model, None)
            language.prompt_caches.commit(self._saving, made_with, [self._loaded])
        elif self._saving is not None:
            language.prompt_caches.discard(self._saving)
        self._release()

    def _release(self) -> None:
        if self._loaded is not None and self._run.model.pointer:
            try:
                self._run.language.runtime.call("rkllm_release_prompt_cache", self._run.model.pointer)
            except RpcError as error:
                log.warning("session_cache_not_released", error=error.to_json())


def _are_used(language: Language) -> bool:
    """Return whether prompt caches are used so that a session need not be read again.

    The vendor's runtime is not known to continue a conversation from one, and 1000 tokens take 100 MB on the disk.
    """
    setting = language.config.session_caches
    wanted = language.runtime.name == "portable" if setting == "auto" else setting == "always"
    return wanted and language.prompt_caches.why_not() is None


def forget_without_session(language: Language) -> None:
    """Remove the prompt caches of sessions that an earlier daemon had and this one has not; before any is loaded."""
    language.sessions.expire(language.config.session_hours * 3600)
    wanted = {(owner_of(session), session.cache_name) for session in language.sessions.all}
    language.prompt_caches.keep_only(_OWNERS, wanted)


def owner_of(session: Session) -> str:
    """Return the owner of a session's prompt caches: not the user itself, so that they can't clash with its names."""
    return f"{_OWNERS}{'daemon' if session.user is None else session.user}"
