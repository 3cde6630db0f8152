"""Bodies of HTTP as they come in chunks."""

from __future__ import annotations


def joined(chunks: bytes) -> bytes:
    """Return what whole chunks carry, up to the one that is the end, or to where no more of them have come."""
    found = b""
    while chunks and not chunks.startswith(b"0\r\n"):
        size, _, chunks = chunks.partition(b"\r\n")
        length = int(size, 16)
        assert chunks[length : length + 2] == b"\r\n", "each chunk is whole"
        found, chunks = found + chunks[:length], chunks[length + 2 :]
    return found
