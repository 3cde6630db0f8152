"""What this process's allocator does with memory that was given back."""

from __future__ import annotations

import contextlib
from typing import Final

from rkllmd.abi.c import this_process

# malloc.h of glibc: mallopt(3).
_M_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 1 << 20


def return_large_blocks() -> None:
    """Let blocks of a MiB and more go back to the system as soon as they are freed.

    glibc raises the size from which it does so, up to 32 MiB, with each larger block that is freed. The next ones stand
    in the heap, between small ones that stay: a process that has once handed on some long answers would keep much of
    their memory. Each such block costs the kernel's clearing of its pages instead, some tenths of a millisecond.
    """
    with contextlib.suppress(AttributeError):  # another C library, which has its own way
        this_process().mallopt(_M_MMAP_THRESHOLD, _LARGE)
