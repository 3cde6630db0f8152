"""What abi offers the other rooms of ctypes."""

from __future__ import annotations

import gc
import weakref

from rkllmd.abi import c


def test_bytes_are_seen_in_place() -> None:
    buffer = bytearray(b"abcdef")
    shared = c.shared_bytes(buffer, 4)
    shared[0] = ord("x")
    assert buffer == b"xbcdef"
    there = c.bytes_at(c.addressof(shared), 3)
    there[1] = ord("y")
    assert bytes(shared) == b"xycd"


def test_shared_bytes_keep_their_buffer() -> None:
    class Buffer(bytearray):
        """One that can be watched."""

    buffer = Buffer(4)
    alive = weakref.ref(buffer)
    shared = c.shared_bytes(buffer, 4)
    del buffer
    gc.collect()
    assert alive() is not None
    del shared
    gc.collect()
    assert alive() is None


def test_the_c_library_is_in_this_process() -> None:
    assert c.this_process().abs(-3) == 3
