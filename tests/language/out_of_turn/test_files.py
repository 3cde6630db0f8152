"""The files of kept conversations: what they fit, and what becomes of those that can't be written or read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.chats.text import Text
from rkllmd.language.out_of_turn import files, notes
from rkllmd.language.prompt_caches.fingerprint import Fingerprint
from rkllmd.language.prompt_caches.store import PromptCaches

MODEL: Fingerprint = {"model_path": "/m"}
STATE = bytearray(b"what was said")


def kept(user: int | None = 7) -> KeptChat:
    return KeptChat("chat-1", Chat(user), "/m", Held("b", (b"1",), Text((("Hi", False),))))


@pytest.fixture
def caches(tmp_path: Path) -> PromptCaches:
    return PromptCaches(str(tmp_path), 1000)


@pytest.mark.parametrize(("user", "owner"), [(7, "session-7"), (None, "session-daemon")])
def test_a_conversation_has_a_file_with_a_note_beside_it(
    caches: PromptCaches, tmp_path: Path, user: int | None, owner: str
) -> None:
    assert files.write(caches, kept(user), MODEL, STATE, [])
    assert files.read(caches, kept(user), MODEL) == STATE
    caches.close()
    caches = PromptCaches(str(tmp_path), 1000)  # the next daemon's
    (cache,) = caches.of(owner)
    found = notes.read(cache.note, cache.name, user)
    assert found is not None
    assert (found.held, found.chat) == (kept(user).held, kept(user).chat)
    files.drop(caches, kept(user))
    assert caches.of(owner) == []
    assert files.read(caches, kept(user), MODEL) is None
    files.drop(caches, kept(user))  # there is nothing to be done


def test_one_that_was_made_with_another_model_is_of_no_use(caches: PromptCaches) -> None:
    files.write(caches, kept(), MODEL, STATE, [])
    assert files.read(caches, kept(), {"model_path": "/other"}) is None


def test_one_that_can_not_be_written_leaves_nothing(
    caches: PromptCaches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not files.write(PromptCaches(), kept(), MODEL, STATE, []), "there is no directory"
    assert not files.write(caches, kept(), MODEL, bytearray(1001), []), "there is no room"

    def fail(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    assert not files.write(caches, kept(), MODEL, STATE, [])
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith("rkllmd-writing")] == []


def test_one_that_is_gone_is_of_no_use(caches: PromptCaches) -> None:
    files.write(caches, kept(), MODEL, STATE, [])
    (cache,) = caches.of("session-7")
    cache.path.unlink()
    assert files.read(caches, kept(), MODEL) is None
    assert caches.of("session-7") == []
