"""Paths from a client: checked before C sees them.

The vendor's library has left the process for a missing file, and writes to any path that it is given. So a path must be
absolute (the client's working directory is not the daemon's), lie in a directory that the configuration allows after
links are resolved, and be a regular file where it is to be read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from rkllmd.errors import InvalidParams, PermissionDenied

# What a client's path never leads to, whatever the configuration allows.
_private: list[str] = []


def keep_private(directory: str) -> None:
    """Refuse all paths that lead into this directory from now on: what lies there is the daemon's alone."""
    _private.append(os.path.realpath(directory))


def readable_file(
    given: str, allowed: Sequence[str], where: str | None, setting: str = "allowed_directories", *, base: str = ""
) -> Path:
    """Return the file that ``given`` names. ``where`` is its place in the client's JSON, None if it has none.

    ``setting`` names what ``allowed`` is from. ``base``: the directory of relative paths; without it they are refused.
    Raises InvalidParams if there is no such file, PermissionDenied if it may not be read.
    """
    path = _resolve(given, allowed, where, setting, base)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InvalidParams(f"{_lead(where)}{given}: {reason}.", path=where, keyword="file") from None
    if not stat.S_ISREG(mode):
        raise InvalidParams(f"{_lead(where)}{given} is not a regular file.", path=where, keyword="file")
    if not os.access(path, os.R_OK):
        raise PermissionDenied(f"{_lead(where)}the daemon's user may not read {given}.", path=where)
    return path


def writable_file(given: str, allowed: Sequence[str], where: str) -> Path:
    """Return the path of the file to be written; its directory exists. Raises as ``readable_file``."""
    path = _resolve(given, allowed, where, "writable_directories")
    mode = None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:  # a name too long, a loop of links, a directory that is closed to the daemon's user
        raise InvalidParams(
            f"{_lead(where)}{given} can't be written: {error.strerror}.", path=where, keyword="file"
        ) from None
    if mode is not None and not stat.S_ISREG(mode):
        raise InvalidParams(f"{_lead(where)}{given} is not a regular file.", path=where, keyword="file")
    if not path.parent.is_dir():
        raise InvalidParams(f"{_lead(where)}there is no directory {path.parent}.", path=where, keyword="file")
    if not os.access(path.parent if mode is None else path, os.W_OK):
        raise PermissionDenied(f"{_lead(where)}the daemon's user may not write {given}.", path=where)
    return path


def absolute(given: str, base: str) -> str:
    """Return a path as it is if it is absolute, and below ``base``, if there is one, if it is not."""
    return os.path.join(base, given) if base and given else given


def _resolve(given: str, allowed: Sequence[str], where: str | None, setting: str, base: str = "") -> Path:
    given = str(given)  # it may be a LongString, which is too long below
    # The length first: every other message repeats the path.
    if len(os.fsencode(given)) >= 4096:  # PATH_MAX, limits.h
        message = f"{_lead(where)}a path has at most 4095 bytes."
        raise InvalidParams(message, path=where, keyword="maxLength", limit=4095)
    if any(character < " " or character == "\x7f" for character in given):
        # NUL would end it early in C; the runtimes print paths, and a line of its own could pass for one of theirs.
        raise InvalidParams(f"{_lead(where)}a path holds no control characters.", path=where, keyword="pattern")
    given = absolute(given, base)
    if not given.startswith("/"):
        raise InvalidParams(
            f"{_lead(where)}{given!r} is not absolute, and the daemon's working directory is not yours: give the "
            "whole path, or, for a model, configure model_directory, where relative paths begin.",
            path=where,
            keyword="absolute",
        )
    path = Path(os.path.realpath(given))
    try:
        str(path).encode()
    except UnicodeEncodeError:  # it could be shown to nobody, and be a key in no file of ours
        raise InvalidParams(f"{_lead(where)}the file's name is not UTF-8.", path=where, keyword="format") from None
    if any(path.is_relative_to(directory) for directory in _private):
        raise PermissionDenied(f"{_lead(where)}what lies in {path.parent} is the daemon's own.", path=where)
    if not any(path.is_relative_to(os.path.realpath(directory)) for directory in allowed):
        raise PermissionDenied(
            f"{_lead(where)}{given} is outside the directories that the setting {setting} allows.",
            path=where,
            allowed=list(allowed),
        )
    return path


def _lead(where: str | None) -> str:
    """Return how an error about the path begins: with its place as people say it, without the root."""
    return "" if where is None else f"{where.removeprefix('$').removeprefix('.')}: "
