"""A prompt cache that a client names by path: C writes it into a directory of the daemon, then it is moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from rkllmd import open_files
from rkllmd.errors import PermissionDenied, lead
from rkllmd.machine.disk import placing
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.language.prompt_caches.saved import SavedCaches

log = structlog.get_logger()


@dataclass(eq=False)
class SavingToPath:
    """A cache that C writes to ``path``; the client wants it at ``target`` (resolved), which it wrote as ``given``."""

    given: str
    target: Path
    roots: Sequence[str]
    user: int | None
    path: Path


def check(target: Path, roots: Sequence[str], user: int | None, where: str) -> None:
    """Refuse a path at which the client's uid may not make a file. Raises PermissionDenied."""
    try:
        placing.check(target, roots, user)
    except OSError as error:
        raise _refusal(target, error, where) from None


def begin(
    given: str, target: Path, roots: Sequence[str], user: int | None, candidates: Sequence[str], where: str
) -> SavingToPath:
    """Return where C has to write, if possible in one of the directories ``candidates``. Raises PermissionDenied."""
    check(target, roots, user, where)
    try:
        folder = placing.private_folder(candidates, target.parent)
    except OSError as error:
        raise _refusal(target, error, where) from None
    return SavingToPath(given, target, roots, user, folder / target.name)


def commit(saving: SavingToPath, saved: SavedCaches) -> str | None:
    """Move the written file to where the client wants it; return a sentence on why that failed, or None."""
    reason: str | None
    try:
        reason = saved.why_not(saving.target, saving.user, os.lstat(saving.path).st_size)
        if reason is not None:
            return _not_saved(saving, reason)
        size = placing.place(saving.path, saving.target, saving.roots, saving.user)
    except FileNotFoundError:
        reason = "The runtime has written nothing, or the directory is gone."
    except OSError as error:
        reason = f"{saving.target} can't be written: {error.strerror}."
    else:
        saved.note(saving.target, saving.user, size)
        log.info("prompt_cache_saved", path=str(saving.target), user=saving.user, bytes=size)
        return None
    return _not_saved(saving, reason)


def _not_saved(saving: SavingToPath, reason: str) -> str:
    log.warning("prompt_cache_not_saved", path=str(saving.target), user=saving.user, reason=reason)
    return reason


def discard(saving: SavingToPath) -> None:
    """Remove what C has written, unless it was moved."""
    placing.remove_folder(saving.path.parent)


def _refusal(target: Path, error: OSError, where: str) -> PermissionDenied:
    open_files.raise_shortage(error)
    return PermissionDenied(f"{lead(where)}{target} can't be written: {error.strerror}.", path=where)
