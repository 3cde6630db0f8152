"""Which strings must be one line or short is said by the structs, not by how a path ends."""

from __future__ import annotations

from ctypes import c_char_p
from typing import Any

import pytest

from rkllmd.abi.json.scalars import to_text
from rkllmd.abi.json.structs import fields_of
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.errors import InvalidParams


def _strings(struct: Any, *endings: str) -> set[str]:
    return {name for name, kind in fields_of(struct).items() if kind is c_char_p and name.endswith(endings)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_and_paths_are_declared_by_their_structs(layout: str) -> None:
    for struct in LAYOUTS[layout].structs.values():
        assert struct._printed_ == _strings(struct, "_name", "_path"), struct
        assert struct._names_ == _strings(struct, "_name"), struct


@pytest.mark.parametrize(
    ("text", "marks", "keyword"),
    [
        ("a\nb", {"is_printed": True, "is_name": False}, "pattern"),
        ("a\x7fb", {"is_printed": True, "is_name": True}, "pattern"),
        ("ä" * 128, {"is_printed": True, "is_name": True}, "maxLength"),
        ("a\0b", {"is_printed": False, "is_name": False}, "pattern"),
        ("\ud800", {"is_printed": False, "is_name": False}, "format"),
        (1, {"is_printed": False, "is_name": False}, "type"),
    ],
)
def test_what_a_string_must_not_have(text: Any, marks: dict[str, bool], keyword: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        to_text(text, "$.x", **marks)
    assert (caught.value.data["path"], caught.value.data["keyword"]) == ("$.x", keyword)


def test_a_prompt_may_have_lines_and_any_length() -> None:
    assert to_text("ä\n" * 500, "$.x", is_printed=False, is_name=False) == ("ä\n" * 500).encode()
    assert to_text("ä" * 127 + "a", "$.x", is_printed=True, is_name=True) == b"\xc3\xa4" * 127 + b"a"
