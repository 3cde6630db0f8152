"""C declarations in words: what ctypes needs of them, and what is no declaration."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from rkllmd.abi import c_signature, rknn_library
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.calls import registry


def described(namespace: str) -> dict[str, str]:
    found = registry.discover()
    return {
        item.c_function: item.c_signature
        for name, item in found.items()
        if name.startswith(namespace) and item.c_function and item.c_signature
    }


def same(one: Any, other: Any) -> bool:
    """Return whether two types mean the same to ctypes; bytes and char pointers are void pointers in some tables."""
    return one is other or (one, other) in (
        (ctypes.c_char_p, ctypes.c_void_p),
        (ctypes.c_void_p, ctypes.c_char_p),
    )


def test_the_docstrings_say_what_the_tables_of_rkllm_say() -> None:
    layout = LAYOUTS["1.3"]
    types = {**vars(sys.modules["rkllmd.abi.layouts.rkllm_common"]), **layout.structs}
    for name, text in described("rkllm.").items():
        table = layout.signatures[name]
        parsed, signature = c_signature.parse(text, types)
        assert parsed == name
        assert list(signature.arguments) == list(table.arguments)
        assert same(signature.restype, table.restype), name
        for argument, found in signature.arguments.items():
            assert same(found, table.arguments[argument]), (name, argument)


def test_the_docstrings_say_what_the_tables_of_rknn_say() -> None:
    types = rknn_library._types()
    for name, text in described("rknn.").items():
        table = rknn_library.SIGNATURES[name]
        parsed, signature = c_signature.parse(text, types)
        assert (parsed, list(signature.arguments)) == (name, list(table.arguments))
        assert same(signature.restype, table.restype), name
        for argument, found in signature.arguments.items():
            assert same(found, table.arguments[argument]), (name, argument)


@pytest.mark.parametrize(
    ("text", "arguments", "restype"),
    [
        ("void f(void)", [], None),
        ("int f()", [], ctypes.c_int),
        ("const char *f(unsigned int a, const char* b)", [ctypes.c_uint, ctypes.c_char_p], ctypes.c_char_p),
        ("float *f(void **a)", [ctypes.POINTER(ctypes.c_void_p)], ctypes.POINTER(ctypes.c_float)),
        (
            "uint64_t f(int a[], uint8_t b[4])",
            [ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_uint8)],
            ctypes.c_uint64,
        ),
    ],
)
def test_a_declaration_in_words(text: str, arguments: list[Any], restype: Any) -> None:
    name, signature = c_signature.parse(text, {})
    assert (name, signature.argtypes, signature.restype) == ("f", arguments, restype)


@pytest.mark.parametrize("text", ["", "int f", "f(int a)", "int f(int)", "int f(int a", "int f(int (*a)(void))"])
def test_what_is_no_declaration(text: str) -> None:
    with pytest.raises(ValueError, match="does not declare"):
        c_signature.parse(text, {})
