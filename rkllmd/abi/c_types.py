"""What the mirrors of C structs and functions are made of.

Five class attributes of a struct say what the C type cannot:

- ``_enums_``: fields whose C type is an enum (ctypes sees an int),
- ``_flags_``: integer fields that mean yes or no,
- ``_required_``: fields that make no sense as NULL or zero, so a client has to give them,
- ``_printed_``: strings that the runtimes print: a line break in one could pass for a line of theirs,
- ``_names_``: those of them that stay as long as the model and are in every ``server.status``, so they must be short.
"""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import Structure
from enum import IntEnum
from typing import Any, ClassVar, NamedTuple


class Struct(Structure):
    """Base of every mirror: a ctypes Structure that can say more about its fields (see the module's docstring)."""

    _enums_: ClassVar[Mapping[str, type[IntEnum]]] = {}
    _flags_: ClassVar[frozenset[str]] = frozenset()
    _required_: ClassVar[tuple[str, ...]] = ()
    _printed_: ClassVar[frozenset[str]] = frozenset()
    _names_: ClassVar[frozenset[str]] = frozenset()


class Signature(NamedTuple):
    """One C function: its arguments by C name, in C order, and what it returns."""

    arguments: dict[str, Any]
    restype: Any

    @property
    def argtypes(self) -> list[Any]:
        """The argument types alone, as ctypes wants them."""
        return list(self.arguments.values())
