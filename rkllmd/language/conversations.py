"""What becomes of the conversation in a model's KV cache when a client changes the model, which all clients share.

Whoever loses something is told in the final result of its next run, and the log says who has changed what.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from rkllmd.calls.invocation import Invocation
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.sessions.sessions import Session

log = structlog.get_logger()


def can_hear(language: Language, client: int) -> bool:
    """Return whether a client is connected, or detached calls of it go on: else nobody is there to be told anything."""
    return client in language.clients or any(
        call.number == client and not call.ended.is_set() for call in language.detached_calls
    )


def forget_client(language: Language, client: int) -> None:
    """Tell a client nothing any more: it is gone, and so are its detached calls."""
    if not can_hear(language, client):
        language.untold.discard(client)
        for model in language.models:
            model.kv_cache.tell_no_more(client)


def take_news(language: Language, model: Model, client: int) -> bool:
    """Return whether the final result of the client's run has to say ``history_reset``."""
    is_news = client in language.untold
    language.untold.discard(client)
    return model.kv_cache.take_news(client) or is_news


def carry_over(language: Language, model: Model, by: int | None) -> None:
    """Keep in mind who has lost something with a model that goes for good, by a call of ``by``, who knows that."""
    model.kv_cache.clear(by)
    language.untold |= model.kv_cache.untold - {by}


def clear(language: Language, model: Model, by: int | None = None) -> int | Session | None:
    """Take all words out of the model, with what stands before them left; return who has lost something, if anybody.

    ``by`` is None where the owner is to be told even if its own call has done it. Raises RuntimeFailure.
    """
    language.runtime.call("rkllm_clear_kv_cache", model.pointer, 1, None, None)
    return model.kv_cache.clear(by)


@contextmanager
def change(language: Language, invocation: Invocation, model: Model, *, ends_own: bool = False) -> Iterator[None]:
    """Surround a change after which others' words don't fit the model any more; they are cleared first.

    What the KV cache holds was read with the template, the tools and the adapters of its time. A client that changes
    them in the middle of its own conversation gets what C makes of it, unless the change ``ends_own`` as well. A
    session is given to the model anew in either case.
    """
    by = None if ends_own else invocation.client.number
    kv_cache, loser = model.kv_cache, None
    if kv_cache.holds_words and kv_cache.owner != by:
        loser = clear(language, model, by)
    try:
        yield
    except BaseException:
        if loser is not None:
            log_change(language, invocation, model, loser, failed=True)
        raise
    log_change(language, invocation, model, loser)


def log_change(
    language: Language, invocation: Invocation, model: Model, loser: int | Session | None, **more: Any
) -> None:
    """Log who has changed a model, and whose conversation has ended by that."""
    if loser is not None:
        more["history_lost_by"] = _describe(language, loser)
    log.info(
        "model_changed",
        method=invocation.method.name,
        client=invocation.client.describe(),
        handle=model.number,
        model_path=model.path,
        **more,
    )


def _describe(language: Language, owner: int | Session) -> str:
    if not isinstance(owner, int):
        return f"session {owner.name} (uid {owner.user})"
    client = language.clients.get(owner)
    return f"client {owner} (gone)" if client is None else client.describe()
