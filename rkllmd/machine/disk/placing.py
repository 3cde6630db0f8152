"""Files that C writes for a client: written in a directory of the daemon's own, then put where the client wants them.

The runtimes write to a path, through whatever link lies there, and under names that can be guessed. So they are given a
path in a directory that nobody else can enter. What they wrote gets its name by descriptor of the directory, which is
reached without links (``beneath.py``): rename replaces a link and does not follow it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rkllmd.machine.disk import beneath

FOLDER: Final = "rkllmd-writing-"
"""How the names of the daemon's own directories begin."""
_CHUNK_BYTES: Final = 2**20
_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def private_folder(candidates: Sequence[str], near: Path) -> Path:
    """Return a new directory that the daemon's user alone may enter, for one file.

    It is in the first of ``candidates`` where that is safe, those on the filesystem of ``near`` first (a rename is
    enough then), or else in the directory for temporary files. Raises OSError.
    """
    device = os.stat(near).st_dev
    safe = [path for path in candidates if path and _is_safe(path)]
    safe.sort(key=lambda path: os.stat(path).st_dev != device)
    for path in safe:
        try:
            return Path(tempfile.mkdtemp(prefix=FOLDER, dir=path))
        except OSError:
            continue
    return Path(tempfile.mkdtemp(prefix=FOLDER))


def remove_folder(folder: Path) -> None:
    """Remove such a directory with what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def check(target: Path, roots: Sequence[str], user: int | None) -> None:
    """Refuse a place where ``place`` could not put a file of the client's uid ``user``. Raises OSError."""
    directory = beneath.open_directory(str(target.parent), roots)
    try:
        _check_replaced(target.name, directory, user, None)
    finally:
        os.close(directory)


def place(source: Path, target: Path, roots: Sequence[str], user: int | None) -> int:
    """Put the file ``source`` at the resolved path ``target``; return its size in bytes. Raises OSError.

    Its mode stays (as the daemon's umask made it), its owner is the daemon's user. A file that is there is replaced if
    it is the client's (``user``), or one that the daemon has written: it belongs to the daemon's user and has the mode
    that such files get.
    """
    written = os.lstat(source)
    if not stat.S_ISREG(written.st_mode):
        raise OSError(errno.EINVAL, "what the runtime wrote is no regular file")
    directory = beneath.open_directory(str(target.parent), roots)
    try:
        _check_replaced(target.name, directory, user, stat.S_IMODE(written.st_mode))
        try:
            os.rename(source, target.name, dst_dir_fd=directory)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(source, target.name, directory, stat.S_IMODE(written.st_mode))
    finally:
        os.close(directory)
    return written.st_size


def _check_replaced(name: str, directory: int, user: int | None, mode: int | None) -> None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, "something else than a regular file is there")
    mode = _new_mode() if mode is None else mode
    is_ours = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == mode
    if found.st_uid != user and not is_ours:
        raise PermissionError(errno.EACCES, "the file that is there is neither yours nor one that the daemon has saved")


def _new_mode() -> int:
    """Return the mode that the process's new files get; os.umask would change it for all threads to tell it."""
    with open("/proc/self/status") as status:
        umask = next((line.split()[1] for line in status if line.startswith("Umask:")), "022")
    return 0o666 & ~int(umask, 8)


def _copy(source: Path, name: str, directory: int, mode: int) -> None:
    """Copy to a file in the directory whose name nobody can guess, and give it its name."""
    beside = f".{FOLDER}{secrets.token_hex(16)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(beside, flags, 0o600, dir_fd=directory), "wb") as copy, open(source, "rb") as original:
            shutil.copyfileobj(original, copy, _CHUNK_BYTES)
            copy.flush()
            os.fchmod(copy.fileno(), mode)
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=directory)
        raise


def _is_safe(path: str) -> bool:
    """Return whether nobody but the daemon's user and root can put something else in the place of what is there."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    is_shared = bool(found.st_mode & _OTHERS_MAY_WRITE) and not found.st_mode & stat.S_ISVTX
    owned = found.st_uid in (0, os.geteuid())
    return stat.S_ISDIR(found.st_mode) and owned and not is_shared and os.access(path, os.W_OK | os.X_OK)
