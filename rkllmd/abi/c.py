"""What the rooms above need of ctypes, so that none imports it: C's numbers, pointers, and bytes in C's memory."""

from __future__ import annotations

from array import array
from ctypes import (
    CDLL,
    POINTER,
    Array,
    Structure,
    addressof,
    byref,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_ubyte,
    c_uint64,
    c_void_p,
    cast,
    create_string_buffer,
    memmove,
    pointer,
    sizeof,
    string_at,
)

# What the classes that POINTER makes have in common; ctypes has no public name for it.
from ctypes import _Pointer as Pointer
from mmap import mmap
from typing import TypeAlias

from rkllmd.abi.architecture import NativeHandle
from rkllmd.abi.c_types import CFunction, CObject, CResult, CType, FunctionPointer, Reference, Struct

__all__ = [
    "CDLL",
    "POINTER",
    "Array",
    "CFunction",
    "CObject",
    "CResult",
    "CType",
    "Elements",
    "FunctionPointer",
    "NativeHandle",
    "Pointer",
    "Reference",
    "Struct",
    "Structure",
    "addressof",
    "byref",
    "bytes_at",
    "c_char",
    "c_char_p",
    "c_float",
    "c_int",
    "c_int32",
    "c_uint64",
    "c_void_p",
    "cast",
    "create_string_buffer",
    "memmove",
    "pointer",
    "shared_bytes",
    "sizeof",
    "string_at",
    "this_process",
]


Elements: TypeAlias = "bytearray | array[int] | array[float] | memoryview"
"""The memory of a tensor's elements, which can be written to."""


def bytes_at(address: int, size: int) -> Array[c_ubyte]:
    """Return the ``size`` bytes at an address, without a copy: whoever owns them must outlive what is returned."""
    return (c_ubyte * size).from_address(address)


def shared_bytes(buffer: Elements | mmap, size: int) -> Array[c_ubyte]:
    """Return the first ``size`` bytes of a writable buffer for C, without a copy; it keeps the buffer alive."""
    return (c_ubyte * size).from_buffer(buffer)


def this_process() -> CDLL:
    """Return the functions that this process has loaded already, such as those of the C library."""
    return CDLL(None)
