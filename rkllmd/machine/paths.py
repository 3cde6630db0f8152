"""Paths from a client: checked before C sees them.

What a client learns of a path is what its own permissions show (``disk/seeing.py``).

The vendor's library has ended the process because a file was missing, and writes to any path that it is given. So a
path must be absolute (the client's working directory is not the daemon's), it must lie in a directory that the
configuration allows after links are resolved, and a path to read must be a regular file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from rkllmd import open_files
from rkllmd.errors import InvalidParams, PermissionDenied, lead
from rkllmd.machine.disk import seeing
from rkllmd.machine.disk.seeing import Viewer

# What a client's path never leads to, whatever the configuration allows.
_private: list[str] = []


def keep_private(directory: str) -> None:
    """Refuse all paths that lead into this directory from now on: what lies there is the daemon's alone."""
    _private.append(os.path.realpath(directory))


def readable_file(
    given: str,
    allowed: Sequence[str],
    where: str | None,
    setting: str = "allowed_directories",
    *,
    base: str = "",
    viewer: Viewer | None = None,
) -> Path:
    """Return the file that ``given`` names. ``where`` is its JSON path in the client's parameters, None if it has none.

    ``setting`` is the setting that ``allowed`` comes from. ``base``: where relative paths begin; without it they are
    refused. ``viewer``: the user that has to be allowed to read it, beside the daemon; None: the daemon alone.

    Raises InvalidParams if there is no such file, PermissionDenied if it may not be read.
    """
    path = _resolve(given, allowed, where, setting, base, viewer)
    if not stat.S_ISREG(_mode(path, given, where)):
        raise InvalidParams(f"{lead(where)}{given} is not a regular file.", path=where, keyword="file")
    if not os.access(path, os.R_OK):
        raise PermissionDenied(f"{lead(where)}the daemon's user may not read {given}.", path=where)
    _check_not_held(path, given, where)
    return path


def readable_directory(given: str, allowed: Sequence[str], where: str, *, base: str = "") -> Path:
    """Return the directory that the configuration names. Raises what ``readable_file`` raises."""
    path = _resolve(given, allowed, where, "allowed_directories", base)
    if not stat.S_ISDIR(_mode(path, given, where)):
        raise InvalidParams(f"{lead(where)}{given} is not a directory.", path=where, keyword="file")
    if not os.access(path, os.R_OK | os.X_OK):
        raise PermissionDenied(f"{lead(where)}the daemon's user may not read {given}.", path=where)
    return path


def _check_not_held(path: Path, given: str, where: str | None) -> None:
    """Refuse a file of which somebody holds a lease: who opens it would wait for that one."""
    try:
        os.close(open_files.without_waiting(str(path), os.O_RDONLY | os.O_CLOEXEC))
    except BlockingIOError:
        raise InvalidParams(
            f"{lead(where)}{given} is held by a process that has a lease of it (fcntl, F_SETLEASE): call again when "
            "that has let it go.",
            path=where,
            keyword="file",
        ) from None
    except OSError as error:  # whoever reads it says what else is wrong
        open_files.raise_shortage(error)


def _mode(path: Path, given: str, where: str | None) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InvalidParams(f"{lead(where)}{given}: {reason}.", path=where, keyword="file") from None


def writable_file(given: str, allowed: Sequence[str], where: str, *, viewer: Viewer | None = None) -> Path:
    """Return the path of the file to be written; its directory exists. Raises what ``readable_file`` raises.

    ``viewer``: the user that has to be allowed to go to its directory.
    """
    path = _resolve(given, allowed, where, "writable_directories", viewer=viewer, reads=False)
    mode = None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:  # a name too long, a loop of links, a directory that is closed to the daemon's user
        raise InvalidParams(
            f"{lead(where)}{given} can't be written: {error.strerror}.", path=where, keyword="file"
        ) from None
    if mode is not None and not stat.S_ISREG(mode):
        raise InvalidParams(f"{lead(where)}{given} is not a regular file.", path=where, keyword="file")
    if not path.parent.is_dir():
        raise InvalidParams(f"{lead(where)}there is no directory {path.parent}.", path=where, keyword="file")
    if not os.access(path.parent if mode is None else path, os.W_OK):
        raise PermissionDenied(f"{lead(where)}the daemon's user may not write {given}.", path=where)
    return path


def absolute(given: str, base: str) -> str:
    """Return an absolute path as it is, and a relative one below ``base``, if there is one."""
    return os.path.join(base, given) if base and given else given


def follow(given: str, where: str | None, viewer: Viewer | None, *, reads: bool = True) -> Path:
    """Return where an absolute path leads, whether something is there or not.

    Raises PermissionDenied where the viewer may not go there, or with ``reads`` may not read it.
    """
    if viewer is None:
        return Path(os.path.realpath(given))
    try:
        return Path(seeing.resolve(given, viewer, reads=reads))
    except PermissionError:
        raise PermissionDenied(
            f"{lead(where)}your user (uid {viewer.user}) may not read {given}, or not enter a directory on the way.",
            path=where,
            user=viewer.user,
        ) from None


def _resolve(
    given: str,
    allowed: Sequence[str],
    where: str | None,
    setting: str,
    base: str = "",
    viewer: Viewer | None = None,
    *,
    reads: bool = True,
) -> Path:
    given = str(given)  # it may be a LongString, which is too long below
    # The length first: every other message repeats the path.
    if len(os.fsencode(given)) >= 4096:  # PATH_MAX, limits.h
        message = f"{lead(where)}a path has at most 4095 bytes."
        raise InvalidParams(message, path=where, keyword="maxLength", limit=4095)
    if any(character < " " or character == "\x7f" for character in given):
        # NUL would end it early in C. The runtimes print paths: what comes behind a line break could pass for a line of
        # theirs.
        raise InvalidParams(f"{lead(where)}a path holds no control characters.", path=where, keyword="pattern")
    given = absolute(given, base)
    if not given.startswith("/"):
        raise InvalidParams(
            f"{lead(where)}{given!r} is not absolute, and the daemon's working directory is not yours: give the "
            "whole path, or, for a model, configure model_directory, where relative paths begin.",
            path=where,
            keyword="absolute",
        )
    path = follow(given, where, viewer, reads=reads)
    try:
        str(path).encode()
    except UnicodeEncodeError:  # it could not be shown to anybody, nor be a key in a file of ours
        raise InvalidParams(f"{lead(where)}the file's name is not UTF-8.", path=where, keyword="format") from None
    if any(path.is_relative_to(directory) for directory in _private):
        raise PermissionDenied(f"{lead(where)}what lies in {path.parent} is the daemon's own.", path=where)
    if not any(path.is_relative_to(os.path.realpath(directory)) for directory in allowed):
        raise PermissionDenied(
            f"{lead(where)}{given} is outside the directories that the setting {setting} allows.",
            path=where,
            allowed=list(allowed),
        )
    return path
