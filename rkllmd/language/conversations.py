"""What happens to the conversation in a model's KV cache when a client changes the model, which all clients share.

A client that loses something learns it from the final result of its next run, and the log says who has changed what.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from rkllmd.calls import authority
from rkllmd.json_types import Json

if TYPE_CHECKING:
    from rkllmd.calls.invocation import Invocation
    from rkllmd.language.chats.held import Chat
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language

log = structlog.get_logger()


def can_hear(language: Language, client: int) -> bool:
    """Return whether a client is connected or still has detached calls; otherwise nobody is there to be told."""
    return client in language.clients or any(
        call.number == client and not call.ended.is_set() for call in language.detached_calls
    )


def forget_client(language: Language, client: int) -> None:
    """Forget what a client has lost, once it is gone and so are its detached calls."""
    if not can_hear(language, client):
        language.unaware.discard(client)
        for model in language.models:
            model.kv_cache.tell_no_more(client)


def take_news(language: Language, model: Model, client: int) -> bool:
    """Return whether the final result of the client's run has to say ``history_reset``; it is said only once."""
    is_news = client in language.unaware
    language.unaware.discard(client)
    return model.kv_cache.take_news(client) or is_news


def carry_over(language: Language, model: Model, by: int | None) -> None:
    """Remember who loses something with a model that goes for good; ``by``, whose call unloads it, knows already."""
    model.kv_cache.clear(by)
    language.unaware |= model.kv_cache.unaware - {by}


def clear(language: Language, model: Model, by: int | None = None) -> int | Chat | None:
    """Clear the KV cache but for the system prompt; return who has lost something by that, if anybody.

    ``by`` is the client whose call does it and who therefore knows; None if the owner is to be told in any case.
    Raises RuntimeFailure.
    """
    # What was rendered by the daemon has its own system prompt, and C's must not stand before it.
    keeps_system_prompt = 0 if model.is_bare else 1
    language.runtime.call("rkllm_clear_kv_cache", model.pointer, keeps_system_prompt, None, None)
    return model.kv_cache.clear(by)


def check_end(language: Language, invocation: Invocation, model: Model) -> None:
    """Refuse to end another user's conversation in the KV cache to those who may not change the model either.

    One that nobody can go on with may be ended by everybody. Raises PermissionDenied.
    """
    owner, user, config = model.kv_cache.owner, invocation.client.user, language.config
    if owner is None or not model.kv_cache.holds_words or authority.may(config, user, model.user):
        return
    clients = [*language.clients.values(), *language.detached_calls]
    users = [client.user for client in clients if client.number == owner] if isinstance(owner, int) else [owner.user]
    if users:
        authority.check_end(config, user, users[0], "The conversation in the KV cache")


@contextmanager
def change(language: Language, invocation: Invocation, model: Model, *, ends_own: bool = False) -> Iterator[None]:
    """Surround a change of the model after which another client's conversation does not fit it: that is cleared first.

    What the KV cache holds was read with the template, the tools and the adapters that were set then. A client that
    changes them in the middle of its own conversation gets what C makes of it, unless the change ``ends_own``
    conversation too. A session, or one of messages, is given to the model anew in either case.
    """
    by = None if ends_own else invocation.client.number
    kv_cache, loser = model.kv_cache, None
    kv_cache.forget_sequences()
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
    language: Language, invocation: Invocation, model: Model, loser: int | Chat | None, **more: Json
) -> None:
    """Log who has changed a model, and whose conversation has ended because of that."""
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


def _describe(language: Language, owner: int | Chat) -> str:
    if not isinstance(owner, int):
        return owner.describe()
    client = language.clients.get(owner)
    return f"client {owner} (gone)" if client is None else client.describe()
