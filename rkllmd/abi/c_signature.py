"""A C declaration as text → what ctypes needs to call the function: so a new function needs nothing but its module.

The functions of the vendor's headers have their signatures in tables (``abi/layouts``), which the tests hold
against the headers. Those that no table has are read from the docstring of the module that serves them.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, cast

from rkllmd.abi.c_types import CType, Signature

_DECLARATION: Final = re.compile(r"(?P<returns>[^()]+[\s*])(?P<name>\w+)\s*\((?P<arguments>[^()]*)\)")
_ARGUMENT: Final = re.compile(r"(?P<type>.+[\s*])(?P<name>\w+)(?P<array>(\[\w*\])?)")
_SIMPLE: Final[dict[str, CType | None]] = {
    "void": None,
    "bool": ctypes.c_bool,
    "char": ctypes.c_char,
    "short": ctypes.c_short,
    "int": ctypes.c_int,
    "unsigned": ctypes.c_uint,
    "unsigned int": ctypes.c_uint,
    "long": ctypes.c_long,
    "unsigned long": ctypes.c_ulong,
    "long long": ctypes.c_longlong,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "size_t": ctypes.c_size_t,
    **{f"{sign}int{bits}_t": getattr(ctypes, f"c_{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
# The pointers for which ctypes has a type of their own, and not POINTER(…).
_POINTERS: Final[dict[str, CType]] = {"void": ctypes.c_void_p, "char": ctypes.c_char_p}


def name_of(text: str) -> str:
    """Return the name of the C function that ``text`` declares. Raises ValueError if it does not declare one."""
    return _declaration(text)["name"]


def parse(text: str, types: Mapping[str, object]) -> tuple[str, Signature]:
    """Return the name and the signature of the C function that ``text`` declares.

    ``types`` has the library's own types by their C names. Raises ValueError if ``text`` does not declare a function,
    LookupError for a type that is not known.
    """
    found = _declaration(text)
    arguments: dict[str, CType] = {}
    listed = found["arguments"].strip()
    for argument in listed.split(",") if listed not in ("", "void") else ():
        parts = _ARGUMENT.fullmatch(argument.strip())
        if parts is None:
            raise ValueError(f"{argument.strip()!r} does not declare an argument with its name")
        argument_type = _type(parts["type"] + ("*" if parts["array"] else ""), types)
        if argument_type is None:
            raise ValueError(f"{argument.strip()!r} has no type")
        arguments[parts["name"]] = argument_type
    return found["name"], Signature(arguments, _type(found["returns"], types))


def _declaration(text: str) -> re.Match[str]:
    found = _DECLARATION.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f"{text!r} does not declare a C function")
    return found


def _type(text: str, types: Mapping[str, object]) -> CType | None:
    """Return the C type; None for void."""
    name = " ".join(word for word in text.replace("*", " ").split() if word not in ("const", "struct", "enum"))
    stars = text.count("*")
    found: CType | None
    if stars and name in _POINTERS:
        found, stars = _POINTERS[name], stars - 1
    elif name in _SIMPLE:
        found = _SIMPLE[name]
    elif isinstance(named := types.get(name), type):
        found = ctypes.c_int if issubclass(named, IntEnum) else cast("CType", named)
    else:
        raise LookupError(f"the C type {name} is not known: declare it in rkllmd/abi")
    for _ in range(stars):
        found = ctypes.POINTER(found)
    return found
