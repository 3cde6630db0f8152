"""Which file it is: what tells one that was replaced, or written again, without reading all of it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Final

# Header, tokenizer and metadata are at one end of a model's file, weights at the other; all of it would take a minute.
_END_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file it is, and a hash of its first and last MiB."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str


def identify(path: str) -> FileIdentity:
    """Look at a file. Raises OSError."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        digest = hashlib.sha256(file.read(_END_BYTES))
        file.seek(max(_END_BYTES, status.st_size - _END_BYTES))
        digest.update(file.read(_END_BYTES))
    return FileIdentity(os.path.realpath(path), status.st_size, status.st_mtime_ns, digest.hexdigest())
