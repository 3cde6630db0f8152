"""The files of kept conversations: prompt caches of the daemon's own, with a note beside each of what is in it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Final

import structlog

from rkllmd.errors import RpcError
from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.out_of_turn import notes
from rkllmd.language.prompt_caches.fingerprint import Fingerprint
from rkllmd.language.prompt_caches.store import PromptCache, PromptCaches, Saving

log = structlog.get_logger()

OWNERS: Final = "session-"
"""How the names of the owners of kept conversations begin."""


def owner_of(user: int | None) -> str:
    """Return the owner of a user's conversations: not the user itself, so that they can't clash with its names."""
    return f"{OWNERS}{'daemon' if user is None else user}"


def begin(caches: PromptCaches, user: int | None, name: str) -> Saving | None:
    """Return where a conversation is to be written; None if that is impossible."""
    try:
        return caches.begin(owner_of(user), name, [])
    except RpcError as error:
        log.debug("conversation_not_kept", reason=error.message)
        return None


def write(
    caches: PromptCaches,
    kept: KeptChat,
    made_with: Fingerprint,
    state: bytearray,
    loaded: Collection[PromptCache | None],
) -> bool:
    """Write what the KV cache held of a conversation to a file; return whether that has succeeded.

    ``loaded``: the caches that runtimes have loaded, which stay.
    """
    saving = begin(caches, kept.chat.user, kept.name)
    if saving is None:
        return False
    try:
        saving.path.write_bytes(state)
    except OSError as error:
        log.warning("conversation_not_kept", reason=f"{error.strerror}.")
        caches.discard(saving)
        return False
    return commit(caches, saving, kept, made_with, loaded)


def commit(
    caches: PromptCaches,
    saving: Saving,
    kept: KeptChat,
    made_with: Fingerprint,
    loaded: Collection[PromptCache | None],
) -> bool:
    """Give the file of a conversation, which is written, its name; return whether that has succeeded."""
    return caches.commit(saving, made_with, loaded, notes.written(kept)) is None


def open_file(caches: PromptCaches, kept: KeptChat, made_with: Fingerprint) -> PromptCache | None:
    """Return the file of a conversation; None if it is gone or does not fit any more."""
    try:
        cache = caches.open(owner_of(kept.chat.user), kept.name, made_with)
    except RpcError as error:
        log.debug("conversation_not_loaded", reason=error.message)
        return None
    caches.mark_used(cache)
    return cache


def read(caches: PromptCaches, kept: KeptChat, made_with: Fingerprint) -> bytearray | None:
    """Return what is in the file of a conversation; None if it is gone or does not fit any more."""
    cache = open_file(caches, kept, made_with)
    if cache is None:
        return None
    try:
        state = bytearray(cache.size_bytes)
        with open(cache.path, "rb") as file:
            is_whole = file.readinto(state) == len(state)
    except (OSError, MemoryError) as error:
        log.debug("conversation_not_loaded", reason=str(error))
        return None
    return state if is_whole else None


def drop(caches: PromptCaches, kept: KeptChat) -> None:
    """Remove the file of a conversation, if there is one."""
    with contextlib.suppress(RpcError):  # the directory's limit has removed it, or it was never written
        caches.drop(owner_of(kept.chat.user), kept.name, [])
