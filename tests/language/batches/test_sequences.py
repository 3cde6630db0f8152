"""In which sequence of the cache a conversation is read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rkllmd.language.batches.sequences import Said, choose
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.text import Text


def held(said: str, user: int = 1, basis: str = "") -> tuple[Chat, Held]:
    """Return a conversation of messages that are a letter each."""
    return Chat(user), Held(basis, tuple(letter.encode() for letter in said), Text())


def said(letters: str, user: int = 1, basis: str = "") -> Said:
    return Said(user, basis, [letter.encode() for letter in letters])


@pytest.mark.parametrize(
    ("known", "runs", "chosen"),
    [
        ({}, [said("a"), None, said("a")], [0, 1, 2]),
        ({1: held("ab"), 2: held("cd")}, [said("cde"), said("abc")], [2, 1]),
        # The longest beginning, whoever comes first; the other one is read elsewhere.
        ({2: held("abc")}, [said("ab"), said("abcd")], [0, 2]),
        # An edited message, an answer that is made anew: most of it is there.
        ({3: held("sabcd")}, [said("sabX")], [3]),
        # No more than what both were told first: the other conversation may come again, as long as there is space.
        ({0: held("sabc")}, [said("sX")], [1]),
        # Others' words are not compared, and whoever was here long ago makes room first.
        ({2: held("ab", user=2), 0: held("xy"), 1: held("yz"), 3: held("zz")}, [said("abc")], [2]),
        ({0: held("ab", basis="tools"), 1: held("x"), 2: held("x"), 3: held("x")}, [said("abc"), None], [0, 1]),
        # A plain prompt leaves conversations where they are.
        ({0: held("ab")}, [None, said("abc"), None], [1, 0, 2]),
    ],
)
def test_where_each_is_read(
    known: dict[int, tuple[Chat, Held]], runs: Sequence[Said | None], chosen: list[int]
) -> None:
    assert choose(known, 4, runs) == chosen
