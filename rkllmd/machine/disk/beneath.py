"""Directories and files reached without following any link, from a directory that the configuration names.

A path that was checked as text leads elsewhere as soon as somebody replaces one of its directories by a link. Here each
part is opened in the one before it, by descriptor, and a link is refused: what is opened lies where its path says.
``openat2`` with RESOLVE_NO_SYMLINKS does the same, from Linux 5.6 on; a walk does it on every kernel.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(path: str, roots: Sequence[str]) -> int:
    """Return a descriptor (O_PATH) of the directory at ``path``, which lies in one of ``roots``.

    ``path`` is resolved (os.path.realpath): a link in it has come since. The roots are the operator's: links in them
    are followed. Raises OSError: ELOOP or ENOTDIR for a link, EACCES if the path lies in none of the roots.
    """
    root = _root_of(path, roots)
    descriptor = os.open(root, _DIRECTORY)
    try:
        for part in os.path.relpath(path, root).split("/"):
            if part == ".":
                continue
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_file(path: str, roots: Sequence[str]) -> int:
    """Return a descriptor (O_PATH) of what is at ``path``, as ``open_directory`` does it. Raises OSError."""
    folder, name = os.path.split(path)
    directory = open_directory(folder, roots)
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)


def _root_of(path: str, roots: Sequence[str]) -> str:
    resolved = [os.path.realpath(root) for root in roots]
    found = [root for root in resolved if os.path.commonpath([root, path]) == root]
    if not found:
        raise PermissionError(errno.EACCES, "it lies outside the directories that the configuration allows")
    return max(found, key=len)
