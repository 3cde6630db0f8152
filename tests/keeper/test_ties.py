"""What ties a daemon to its keeper, as it is told by the environment."""

from __future__ import annotations

import os

import pytest

from rkllmd.keeper import ties
from rkllmd.keeper.ties import Ties


def test_what_is_described_is_what_is_parsed() -> None:
    tied = Ties(700, 3, 4, 5, 6, 7, -1, -1, 8, place="1:2:/run/a,b=c.sock")
    found = Ties.parse(tied.describe())
    assert [getattr(found, name) for name in Ties.__slots__] == [getattr(tied, name) for name in Ties.__slots__]
    assert found.descriptors == [3, 4, 5, 6, 7, 8]


def test_without_any_there_is_nothing() -> None:
    assert Ties().descriptors == []
    assert ties.take({}) is None


def test_children_learn_nothing_and_inherit_nothing() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    environ = {ties.VARIABLE: Ties(700, reader, *[-1] * 7).describe(), "OTHER": "1"}
    tied = ties.take(environ)
    assert tied is not None
    assert tied.keeper == 700
    assert environ == {"OTHER": "1"}
    assert not os.get_inheritable(reader)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("text", ["1", "a,b", "1,2,3,4,5,6,7,8,9", "1,2,3,4,5,6,7,8,x,", ",", ""])
def test_nonsense_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"argument|literal|numbers"):
        Ties.parse(text)
