"""What depends on the machine in the C headers: the width of handles, and whether the layouts are known at all.

The facts of the headers (``tests/facts``) cover two data models: 64 bits, little-endian (aarch64 and x86-64 agree),
and 32-bit ARM (armhf: RV1106, RV1126), for which RKNN's headers declare a context as ``uint32_t``. ctypes lays out
structs as the C compiler of this machine would, so pointers and ``size_t`` need no table. Machines that no fact covers
are refused by name.
"""

from __future__ import annotations

import os
import sys
from ctypes import c_uint32, c_uint64, c_void_p, sizeof
from typing import TypeAlias

_POINTER_BITS = sizeof(c_void_p) * 8
# A 32-bit process may see the name of its 64-bit kernel.
_IS_ARM = os.uname().machine.startswith(("arm", "aarch64"))

# What the C preprocessor calls __arm__: ARM with 32 bits only.
IS_ARM_32 = _IS_ARM and _POINTER_BITS == 32
HAS_KNOWN_LAYOUTS = sys.byteorder == "little" and (_POINTER_BITS == 64 or IS_ARM_32)
KNOWN = "64-bit little-endian machines (aarch64, x86-64) and 32-bit ARM (armhf)"

# #ifdef __arm__
# typedef uint32_t rknn_context;
# #else
# typedef uint64_t rknn_context;
# #endif
# and the same for rknn_custom_op_interal_context.
NativeHandle: TypeAlias = c_uint32 | c_uint64
NATIVE_HANDLE: type[NativeHandle] = c_uint32 if IS_ARM_32 else c_uint64


def describe() -> str:
    """Return what this process runs on, such as "i686 (32 bits, little-endian)"."""
    return f"{os.uname().machine} ({_POINTER_BITS} bits, {sys.byteorder}-endian)"
