"""Whose words are in the KV cache, who has lost some, and who is still to be told."""

from __future__ import annotations

import pytest

from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.text import Text
from rkllmd.language.kv_cache import KvCache

CHAT = Chat(1000)


def held(owner: int | Chat, *, is_paused: bool = False) -> KvCache:
    cache = KvCache()
    cache.take_turn(owner, keep_history=not is_paused)
    cache.end_turn(is_paused=is_paused)
    return cache


@pytest.mark.parametrize("is_paused", [False, True])
def test_another_client_takes_it_away(is_paused: bool) -> None:
    cache = held(1, is_paused=is_paused)
    assert cache.clear(by=2) == 1
    assert not cache.holds_words
    assert cache.owner is None
    assert not cache.take_news(2)
    assert cache.take_news(1)
    assert not cache.take_news(1), "once"


def test_what_is_taken_away_by_its_owner_or_was_nothing_is_no_news() -> None:
    assert held(1).clear(by=1) is None
    stateless = KvCache()
    stateless.take_turn(1, keep_history=False)
    assert stateless.clear(by=2) is None
    assert not stateless.take_news(1)


def test_the_owner_is_told_what_it_may_not_have_meant() -> None:
    cache = held(1)
    assert cache.clear() == 1
    assert cache.take_news(1)


def test_a_conversation_that_can_be_told_again_loses_its_place_and_nothing_else() -> None:
    for clear in (KvCache.clear, KvCache.clear_part):
        cache = held(CHAT)
        assert clear(cache, 1) is CHAT
        assert cache.owner is None
        assert not cache.take_news(1)


def test_a_part_that_another_takes_out() -> None:
    cache = held(1, is_paused=True)
    assert cache.clear_part(by=2) == 1
    assert cache.is_paused
    assert cache.owner == 1
    assert cache.take_news(1)
    assert cache.clear_part(by=1) is None


def test_what_was_lost_by_unloading_is_told_to_the_next_and_to_the_owner() -> None:
    cache = held(1)
    cache.lose()
    assert cache.take_news(2)
    assert cache.take_news(1)
    assert not cache.take_news(2)
    assert not cache.take_news(1)
    cache = held(CHAT)
    cache.lose()
    assert not cache.take_news(2), "it is told to the model anew"


def test_nobody_is_remembered_who_is_not_there_to_be_told() -> None:
    cache = KvCache(can_hear=lambda client: False)
    cache.take_turn(1, keep_history=True)
    assert cache.clear(by=2) == 1
    assert cache.unaware == set()


def test_what_sequences_hold_until_something_else_is_there() -> None:
    one, other = (CHAT, Held("", (b"a",), Text())), (CHAT, Held("", (b"b",), Text()))

    def filled() -> KvCache:
        kv_cache = KvCache()
        kv_cache.take_turn_of_several([0, 1])
        kv_cache.hold_in(0, *one)
        kv_cache.hold_in(1, *other)
        return kv_cache

    kv_cache = filled()
    assert not kv_cache.holds_words, "it can be told again"
    kv_cache.hold_in(0, *one)
    assert list(kv_cache.sequences.items()) == [(1, other), (0, one)], "that of long ago comes first"
    kv_cache.take_turn_of_several([1])
    assert dict(kv_cache.sequences) == {0: one}
    kv_cache.take_turn_of_several()
    assert not kv_cache.sequences
    for change in (KvCache.clear, KvCache.forget_sequences, KvCache.keep_nothing, KvCache.lose):
        kv_cache = filled()
        change(kv_cache)
        assert not kv_cache.sequences
    kv_cache = filled()
    kv_cache.take_turn(1, keep_history=False)
    assert not kv_cache.sequences


def test_whose_turn_needs_a_clear_cache() -> None:
    assert not KvCache().is_foreign_to(1, keep_history=True)
    assert held(1).is_foreign_to(2, keep_history=False)
    assert not held(1).is_foreign_to(1, keep_history=True)
    stateless = KvCache()
    stateless.take_turn(1, keep_history=False)
    assert not stateless.is_foreign_to(2, keep_history=False)
    assert stateless.is_foreign_to(2, keep_history=True)


def test_what_was_said_is_known_until_something_else_is_there() -> None:
    said = Held("", (b"1", b"2"), Text())
    for change in (
        lambda cache: cache.clear(),
        lambda cache: cache.keep_nothing(),
        lambda cache: cache.lose(),
        lambda cache: cache.clear_part(2),
        lambda cache: cache.take_turn(CHAT, keep_history=True),
    ):
        cache = held(CHAT)
        assert cache.held is None
        cache.hold(said)
        assert cache.held is said
        change(cache)
        assert cache.held is None
