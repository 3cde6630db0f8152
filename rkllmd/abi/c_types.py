"""What the mirrors of C structs and functions are made of.

Five class attributes of a struct say what the C type cannot:

- ``_enums_``: fields whose C type is an enum (ctypes sees an int),
- ``_flags_``: integer fields that mean yes or no,
- ``_required_``: fields that make no sense as NULL or zero, so a client has to give them,
- ``_printed_``: strings that the runtimes print: a line break in one could pass for a line of theirs,
- ``_names_``: those of them that stay as long as the model and are in every ``server.status``, and so must be short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import Structure
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

if TYPE_CHECKING:  # ctypes does not export these names
    from _ctypes import CFuncPtr, _CArgObject, _CDataType

__all__ = ["CFunction", "CObject", "CResult", "CType", "CValue", "FunctionPointer", "Reference", "Signature", "Struct"]

CType: TypeAlias = "type[_CDataType]"
"""A C type, as ctypes has it: c_int, a struct, POINTER(c_float)."""

CObject: TypeAlias = "_CDataType"
"""What lies in C's memory: a number, a struct, an array, a pointer."""

FunctionPointer: TypeAlias = "CFuncPtr"
"""A function that C can call, or that was found in a library."""

Reference: TypeAlias = "_CArgObject"
"""What ``byref`` returns: a pointer for the length of a call."""

# Any: its type follows from a declaration, which is data.
CValue: TypeAlias = Any
"""A C value whose type is not known before the program runs: a struct of one of several layouts, an array of them."""

CResult: TypeAlias = CValue
"""What a C function returns: most a status, some a struct or a pointer."""

CFunction: TypeAlias = Callable[..., CResult]
"""A C function that is called from Python."""


class Struct(Structure):
    """Base of every mirror: a ctypes Structure that can say more about its fields (see the module's docstring)."""

    _enums_: ClassVar[Mapping[str, type[IntEnum]]] = {}
    _flags_: ClassVar[frozenset[str]] = frozenset()
    _required_: ClassVar[tuple[str, ...]] = ()
    _printed_: ClassVar[frozenset[str]] = frozenset()
    _names_: ClassVar[frozenset[str]] = frozenset()


class Signature(NamedTuple):
    """One C function: its arguments by C name, in C order, and what it returns."""

    arguments: dict[str, CType]
    restype: CType | None

    @property
    def argtypes(self) -> list[CType]:
        """The argument types alone, as ctypes wants them."""
        return list(self.arguments.values())
