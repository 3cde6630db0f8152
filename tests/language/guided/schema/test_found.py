"""Regular expressions in texts: found or not, and never for ever."""

from __future__ import annotations

import pytest

from rkllmd.language.guided.schema.found import is_found


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^a\\.c$", 'a.c"', False),
        ('^"\\\\\n', '"\\\n', True),
        ("ö{2}", "öö", True),
        # These would take Python's engine longer than the universe has existed.
        ("(a+)+b|c$", "a" * 6000 + "c", True),
        ("^(a|a)*$", "a" * 6000 + "b", False),
    ],
)
def test_what_is_found(pattern: str, text: str, found: bool) -> None:
    assert is_found(pattern, text) is found


def test_what_the_judge_can_not_take_is_not_known() -> None:
    assert is_found("(", "a") is None
