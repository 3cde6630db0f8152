"""Where in a JSON text one stands."""

from __future__ import annotations

import pytest

from rkllmd.language.guided.place import Place


@pytest.mark.parametrize(
    ("text", "in_string"),
    [(b"", False), (b'"', True), (b'""', False), (b'"\\"', True), (b'"\\\\"', False), (b'{"a":"b', True)],
)
def test_a_string_ends_at_a_quotation_mark_that_is_not_escaped(text: bytes, in_string: bool) -> None:
    place = Place()
    for byte in text:
        place.go_on(bytes([byte]))
    assert place.in_string == in_string
    other = place.copy()
    other.go_on(b'"' if in_string else b'["')
    assert (place.in_string, other.in_string) == (in_string, not in_string)


def test_a_space_stands_behind_a_colon_or_a_comma_between_parts() -> None:
    assert Place().with_spaces(b'{"a:b":1,"c":') == b'{"a:b": 1, "c":'
    assert Place(in_string=True).with_spaces(b'a,b","') == b'a,b", "'
