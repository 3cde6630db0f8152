"""A proof that C opened the file that was checked: the same one is at its path before and after the call.

The runtimes open paths, not descriptors, and look beside the file for its other parts (GGUF in parts, external data of
ONNX, a tokenizer), and their messages name it: so they get the real path. Somebody may put another file or a link there
between the check and C. Each part of the path is opened without following links before and after the call, and it
must be the same file, not renamed, removed or written to meanwhile (any of that changes its ctime).

Where the configuration allows everything (``allowed_directories`` is "/", the default) there is nothing to lead out of.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rkllmd import open_files
from rkllmd.errors import PermissionDenied
from rkllmd.machine.disk import beneath


@contextmanager
def unchanged(files: Iterable[str], roots: Sequence[str]) -> Iterator[None]:
    """Surround a C call that opens ``files``, whose paths are resolved and lie in ``roots``.

    Raises PermissionDenied before the call if a path has come to lead elsewhere since it was checked, and after it if a
    file is not the one of before: what C has made of it must be given back then.
    """
    if any(os.path.realpath(root) == "/" for root in roots):
        yield
        return
    with ExitStack() as opened:
        before = [(path, _look(path, roots, opened)) for path in files]
        yield
        for path, found in before:
            if _look(path, roots, opened) != found:
                raise _changed(path)


def _look(path: str, roots: Sequence[str], opened: ExitStack) -> tuple[int, ...]:
    """Return what tells the file at ``path``; it stays open, so that no other file gets its inode."""
    try:
        descriptor = beneath.open_file(path, roots)
    except OSError as error:
        open_files.raise_shortage(error)
        raise _changed(path) from None
    opened.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _changed(path: str) -> PermissionDenied:
    return PermissionDenied(
        f"{path} is not used: it, or a directory above it, was changed while it was loaded. Load it again when nobody "
        "writes there."
    )
