"""What becomes of a conversation when a client changes the model, and who is told of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.config.settings import Config
from rkllmd.errors import PermissionDenied, RuntimeFailure
from rkllmd.language import conversations
from rkllmd.language.kv_cache import KvCache

OWNER, OTHER = 1, 2


def room(*models: Any, clients: tuple[int, ...] = (OWNER, OTHER), detached_calls: tuple[Any, ...] = ()) -> Any:
    """Return a room with models, connected clients and detached calls, which writes down what it calls."""
    calls: list[str] = []
    return SimpleNamespace(
        models=models,
        clients={number: SimpleNamespace(describe=lambda number=number: f"client {number}") for number in clients},
        detached_calls=detached_calls,
        unaware=set(),
        runtime=SimpleNamespace(call=lambda function, *_: calls.append(function)),
        calls=calls,
    )


def model(owner: int | None = OWNER) -> Any:
    kv_cache = KvCache()
    if owner is not None:
        kv_cache.take_turn(owner, keep_history=True)
    return SimpleNamespace(kv_cache=kv_cache, pointer=1, number=7, path="/m", is_bare=False)


def call_of(client: int) -> Any:
    name = SimpleNamespace(name="rkllm.set_chat_template")
    return SimpleNamespace(client=SimpleNamespace(number=client, describe=lambda: f"client {client}"), method=name)


def detached_call(client: int, *, has_ended: bool) -> Any:
    return SimpleNamespace(number=client, ended=SimpleNamespace(is_set=lambda: has_ended))


ANNA, BERTA, CARLA = 50_001, 50_002, 50_003


@pytest.mark.parametrize(
    ("user", "setting", "allowed"),
    [
        (ANNA, "operator", True),
        (BERTA, "owner", True),
        (CARLA, "owner", False),
        (BERTA, "operator", False),
        (CARLA, "everybody", True),
        (None, "operator", True),
    ],
    ids=["whose it is", "who loaded the model", "neither", "operators alone", "everybody", "the daemon"],
)
def test_who_may_end_a_conversation(user: int | None, setting: str, allowed: bool) -> None:
    held = model()
    held.user = BERTA
    language = room(held)
    language.config = Config(authority=setting)
    language.clients[OWNER].number, language.clients[OWNER].user = OWNER, ANNA
    language.clients[OTHER].number = OTHER
    call: Any = SimpleNamespace(client=SimpleNamespace(user=user))
    if allowed:
        conversations.check_end(language, call, held)
    else:
        with pytest.raises(PermissionDenied, match="The conversation"):
            conversations.check_end(language, call, held)
    del language.clients[OWNER]
    conversations.check_end(language, call, held)  # nobody can go on with it


def test_another_clients_change_clears_the_conversation_first() -> None:
    changed = model()
    language = room(changed)
    with capture_logs() as logs, conversations.change(language, call_of(OTHER), changed):
        assert language.calls == ["rkllm_clear_kv_cache"], "before the change"
    assert (logs[0]["client"], logs[0]["history_lost_by"]) == ("client 2", "client 1")
    assert not conversations.take_news(language, changed, OTHER)
    assert conversations.take_news(language, changed, OWNER)
    assert not conversations.take_news(language, changed, OWNER), "once"


@pytest.mark.parametrize(("ends_own", "cleared"), [(False, 0), (True, 1)])
def test_the_owners_own_change(ends_own: bool, cleared: int) -> None:
    changed = model()
    language = room(changed)
    with conversations.change(language, call_of(OWNER), changed, ends_own=ends_own):
        pass
    assert len(language.calls) == cleared
    assert changed.kv_cache.holds_words is not ends_own


def test_a_change_that_fails_is_logged_only_if_somebody_has_lost_something() -> None:
    for owner, logged in ((OWNER, 1), (None, 0)):
        changed = model(owner)
        with (
            capture_logs() as logs,
            pytest.raises(RuntimeFailure),
            conversations.change(room(changed), call_of(OTHER), changed),
        ):
            raise RuntimeFailure("It failed.", function="f", status=-1, log=[])
        assert [entry["failed"] for entry in logs] == [True] * logged


def test_what_cannot_be_cleared_stays() -> None:
    changed = model()
    language = room(changed)

    def fail(*_: Any) -> None:
        raise RuntimeFailure("It failed.", function="rkllm_clear_kv_cache", status=-1, log=[])

    language.runtime.call = fail
    with pytest.raises(RuntimeFailure):
        conversations.clear(language, changed, OTHER)
    assert changed.kv_cache.owner == OWNER
    assert changed.kv_cache.holds_words


def test_who_loses_a_conversation_with_the_model_is_told_by_another_one() -> None:
    gone, another = model(), model(None)
    language = room(gone, another)
    conversations.carry_over(language, gone, OTHER)
    assert conversations.take_news(language, another, OWNER)
    assert not conversations.take_news(language, another, OWNER)
    knows = model()
    conversations.carry_over(language, knows, OWNER)
    assert not conversations.take_news(language, another, OWNER), "its own call has unloaded it"


def test_only_who_is_there_can_be_told() -> None:
    language = room(
        clients=(OWNER,), detached_calls=(detached_call(OTHER, has_ended=False), detached_call(3, has_ended=True))
    )
    assert [conversations.can_hear(language, number) for number in (OWNER, OTHER, 3, 4)] == [True, True, False, False]


def test_a_client_that_is_gone_is_forgotten_unless_a_call_of_it_goes_on() -> None:
    for detached_calls, is_told in (((), False), ((detached_call(OWNER, has_ended=False),), True)):
        changed = model()
        language = room(changed, clients=(), detached_calls=detached_calls)
        changed.kv_cache.clear(OTHER)
        language.unaware.add(OWNER)
        conversations.forget_client(language, OWNER)
        assert (OWNER in language.unaware) is is_told
        assert (OWNER in changed.kv_cache.unaware) is is_told
