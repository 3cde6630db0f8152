"""The states of conversations in memory: how much of it they take, and when files have them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rkllmd.errors import RpcError
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.chats.text import Text
from rkllmd.language.out_of_turn import files
from rkllmd.language.out_of_turn.states import States
from rkllmd.language.prompt_caches.fingerprint import Fingerprint
from rkllmd.language.prompt_caches.store import PromptCache, PromptCaches

LIMIT = 1000
MODEL: Fingerprint = {"model_path": "/m"}
# Nothing is written aside before a test has ended.
NEVER = 3600.0


def kept(name: str, user: int = 7) -> KeptChat:
    return KeptChat(name, Chat(user), "/m", Held("b", (b"1",), Text(((name, False),))))


def state(size: int = 300) -> bytearray:
    return bytearray(b"x" * size)


@pytest.fixture
def caches(tmp_path: Path) -> PromptCaches:
    return PromptCaches(str(tmp_path), 10 * LIMIT)


def states_of(caches: PromptCaches, aside_seconds: float = NEVER, **options: Any) -> States:
    states = States(caches, aside_seconds=aside_seconds, **options)
    states.limit_bytes = LIMIT
    return states


def written(caches: PromptCaches) -> set[str]:
    return {cache.name for cache in caches.of(files.owner_of(7))}


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "conversations"]


def wait_until_written(before: Collection[threading.Thread]) -> None:
    """Wait for the thread that writes aside, which ends when it has nothing to do."""
    for thread in writers():
        if thread not in before:
            thread.join(60)


def test_a_state_comes_back_for_what_it_was_made_with(caches: PromptCaches) -> None:
    states, one = states_of(caches), kept("one")
    assert states.put(one, MODEL, state())
    assert (states.get(one, MODEL), states.get(one, {"model_path": "/other"})) == (state(), None)
    assert states.get(kept("two"), MODEL) is None
    assert (states.size_bytes, states.has(one), states.has(kept("two"))) == (300, True, False)
    assert written(caches) == set(), "another one may have its turn before it is worth a file"


def test_who_was_unused_for_longest_has_a_file_from_then_on(caches: PromptCaches) -> None:
    states = states_of(caches)
    for name in ("one", "two", "three"):
        states.put(kept(name), MODEL, state())
    states.get(kept("one"), MODEL)
    states.put(kept("four"), MODEL, state())
    assert (states.size_bytes, written(caches)) == (900, {"two"})
    assert files.read(caches, kept("two"), MODEL) == state()
    assert states.get(kept("two"), MODEL) is None
    assert states.has(kept("two"))


@pytest.mark.parametrize("limit", [0, 299])
def test_what_memory_has_no_room_for_has_a_file_at_once(caches: PromptCaches, limit: int) -> None:
    states = states_of(caches)
    states.limit_bytes = limit
    assert states.put(kept("one"), MODEL, state())
    assert (states.size_bytes, written(caches)) == (0, {"one"})


def test_memory_is_given_back_after_what_it_holds_was_written(caches: PromptCaches) -> None:
    states = states_of(caches)
    for name in ("one", "two"):
        states.put(kept(name), MODEL, state())
    states.release()
    assert (states.size_bytes, written(caches)) == (0, {"one", "two"})


def test_without_a_directory_they_are_in_memory_alone() -> None:
    states = states_of(PromptCaches())
    assert states.put(kept("one"), MODEL, state())
    assert not states.put(kept("large"), MODEL, state(LIMIT + 1)), "it is nowhere"
    assert states.get(kept("one"), MODEL) == state()
    states.release()
    assert not states.has(kept("one"))


def test_a_file_is_written_aside_and_the_memory_stays(caches: PromptCaches) -> None:
    before, states = writers(), states_of(caches, aside_seconds=0.0)
    states.put(kept("one"), MODEL, state())
    wait_until_written(before)
    assert (states.size_bytes, written(caches)) == (300, {"one"})
    states.drop(kept("one"))
    assert (states.size_bytes, written(caches)) == (0, set()), "the file goes with it"
    states.put(kept("two"), MODEL, state())
    wait_until_written(before)
    assert written(caches) == {"two"}, "another thread has written it"


def test_what_was_dropped_before_its_time_is_never_written(caches: PromptCaches) -> None:
    states = states_of(caches)
    states.put(kept("one"), MODEL, state())
    states.drop(kept("one"))
    states.release()
    assert written(caches) == set()


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event, list[str]]]:
    """Let the disk stop while a file is written: give what says that it has begun, and what lets it go on.

    And the names of those that were written so far.
    """
    begun, may_go_on, names = threading.Event(), threading.Event(), list[str]()
    write = files.write

    def slow(caches: PromptCaches, kept: KeptChat, *arguments: Any) -> bool:
        names.append(kept.name)
        begun.set()
        assert may_go_on.wait(60)
        return write(caches, kept, *arguments)

    monkeypatch.setattr(files, "write", slow)
    try:
        yield begun, may_go_on, names
    finally:
        may_go_on.set()


def test_nobody_waits_for_a_disk_that_has_stopped(caches: PromptCaches, monkeypatch: pytest.MonkeyPatch) -> None:
    before, states = writers(), states_of(caches, aside_seconds=0.0)
    with held_up(monkeypatch) as (begun, may_go_on, _):
        states.put(kept("one"), MODEL, state())
        assert begun.wait(60)
        states.put(kept("two"), MODEL, state())
        assert states.get(kept("one"), MODEL) == state()
        states.drop(kept("one"))
        may_go_on.set()
        wait_until_written(before)
    assert written(caches) == {"two"}, "who writes it removes it"


def test_memory_is_given_back_after_a_write_that_has_begun(
    caches: PromptCaches, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = states_of(caches, aside_seconds=0.0)
    with held_up(monkeypatch) as (begun, may_go_on, names):
        states.put(kept("one"), MODEL, state())
        assert begun.wait(60)
        releasing = threading.Thread(target=states.release)
        releasing.start()
        may_go_on.set()
        releasing.join(60)
    assert (states.size_bytes, written(caches), names) == (0, {"one"}, ["one"])


def fail(error: Exception) -> Callable[..., bool]:
    def write(*_: object) -> bool:
        raise error

    return write


def test_a_write_that_fails_stops_neither_the_next_one_nor_who_waits_for_it(
    caches: PromptCaches, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, states = writers(), states_of(caches, aside_seconds=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(files, "write", fail(MemoryError()))
        states.put(kept("one"), MODEL, state())
        wait_until_written(before)
    states.put(kept("two"), MODEL, state())
    wait_until_written(before)
    states.release()
    assert written(caches) == {"two"}


def test_where_no_thread_can_begin_it_is_written_when_it_leaves(
    caches: PromptCaches, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = states_of(caches, aside_seconds=0.0)
    monkeypatch.setattr(threading.Thread, "start", fail(RuntimeError("can't start new thread")))
    assert states.put(kept("one"), MODEL, state())
    states.release()
    assert written(caches) == {"one"}


def test_a_loaded_cache_stays_on_the_disk(tmp_path: Path) -> None:
    caches = PromptCaches(str(tmp_path), 350)
    saving = caches.begin("7", "named", [])
    saving.path.write_bytes(b"named")
    assert caches.commit(saving, MODEL, []) is None
    loaded: list[PromptCache | None] = [caches.open("7", "named", MODEL)]
    states = states_of(caches, loaded=lambda: loaded)
    for size, name in ((340, "one"), (350, "two")):
        states.put(kept(name), MODEL, state(size))
        states.release()
    assert written(caches) == {"one"}, "the second one had no room beside it"
    with pytest.raises(RpcError):
        caches.open(files.owner_of(7), "two", MODEL)
    assert caches.open("7", "named", MODEL) is loaded[0]
