"""Which command lines have a keeper."""

from __future__ import annotations

import pytest

from rkllmd.keeper.entry import is_wanted


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["serve"], True),
        (["serve", "--socket", "/s"], True),
        (["serve", "--no-keeper"], False),
        (["serve", "--socket", "/s", "--no-keeper"], False),
        (["serve", "-h"], False),
        (["serve", "--help"], False),
        (["call", "serve"], False),
        ([], False),
    ],
)
def test_only_a_daemon_that_serves_has_one(arguments: list[str], wanted: bool) -> None:
    assert is_wanted(arguments) is wanted
