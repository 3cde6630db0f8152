"""A proof that C opened the file that was checked: the same one is at its path before and after the call.

The runtimes open paths, not descriptors, and look beside the file for its other parts (GGUF in parts, external data of
ONNX, a tokenizer), and their messages name it: so they get the real path. Somebody may put another file or a link there
between the check and C. Each part of the path is opened without following links before and after the call, and it
must be the same file, not renamed, removed or written to meanwhile (any of that changes its ctime).

The file that C opens must also be one that the client who has named it may read: a link that comes after the path was
followed for that client would show it the files of others, through a daemon that may read them. Where the daemon looks
for itself, and the configuration allows everything (``allowed_directories`` is "/", the default), there is nothing to
lead out of.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from rkllmd import open_files
from rkllmd.errors import PermissionDenied
from rkllmd.machine.disk import beneath
from rkllmd.machine.disk.seeing import Viewer

_NOBODY: Final[Mapping[str, Viewer]] = {}


@contextmanager
def unchanged(files: Iterable[str], roots: Sequence[str], seen_by: Mapping[str, Viewer] = _NOBODY) -> Iterator[None]:
    """Surround a C call that opens ``files``, whose paths are resolved and lie in ``roots``.

    ``seen_by``: by their paths, who has to be allowed to read them beside the daemon.

    Raises PermissionDenied before the call if a path has come to lead elsewhere since it was checked, and after it if a
    file is not the one of before: what C has made of it must be given back then. If the call has failed, only files of
    ``seen_by`` are looked at again, since its error may say what is in another file.
    """
    allows_all = any(os.path.realpath(root) == "/" for root in roots)
    with ExitStack() as opened:
        looked_at = [path for path in files if not allows_all or path in seen_by]
        before = [(path, _look(path, roots, seen_by.get(path), opened)) for path in looked_at]
        has_returned = False
        try:
            yield
            has_returned = True
        finally:
            for path, found in before if has_returned else [item for item in before if item[0] in seen_by]:
                if _look(path, roots, seen_by.get(path), opened) != found:
                    raise _changed(path) from None


def _look(path: str, roots: Sequence[str], viewer: Viewer | None, opened: ExitStack) -> tuple[int, ...]:
    """Return what tells the file at ``path``; it stays open, so that no other file gets its inode."""
    try:
        descriptor = beneath.open_file(path, roots)
    except OSError as error:
        open_files.raise_shortage(error)
        raise _changed(path) from None
    opened.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    # O_PATH opens a link itself where the last part is one.
    if not stat.S_ISREG(found.st_mode) or (viewer is not None and not viewer.may_read(path, descriptor)):
        raise _changed(path)
    return found.st_dev, found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _changed(path: str) -> PermissionDenied:
    return PermissionDenied(
        f"{path} is not used: it, or a directory above it, was changed while it was loaded. Load it again when nobody "
        "writes there."
    )
