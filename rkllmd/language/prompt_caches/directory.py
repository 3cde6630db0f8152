"""The folder of the named prompt caches in ``cache_directory``: one daemon's, and what of it is the daemon's own.

The operator may name a directory that holds other things, even a folder of the same name. So nothing is removed that
the daemon has not written: its caches have a JSON file beside them with all the facts, and what it writes to meanwhile
lies in folders whose names begin with ``rkllmd-writing-``.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson
import structlog

from rkllmd.json_types import Json
from rkllmd.language.prompt_caches.fingerprint import Fingerprint
from rkllmd.machine.disk import placing
from rkllmd.quick_dataclass import dataclass
from rkllmd.store.lock import LOCK_SECONDS, lock
from rkllmd.wire.members import NAME

log = structlog.get_logger()

DATA: Final = ".cache"
FACTS: Final = ".json"
"""How the names of a cache's two files end."""
_FOLDER: Final = "prompts"  # the cache directory may hold other things
_OWNER: Final = re.compile(r"(session-)?(\d+|daemon)")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the JSON file beside a cache says."""

    size_bytes: int
    sha256: str
    saved_at: float
    fingerprint: Fingerprint
    # What the part of the daemon that owns it has to know of it.
    note: Json = None

    def to_json(self) -> bytes:
        """Return the file's content."""
        return orjson.dumps(
            {
                "bytes": self.size_bytes,
                "sha256": self.sha256,
                "saved_at": self.saved_at,
                "fingerprint": self.fingerprint,
                "note": self.note,
            }
        )

    @classmethod
    def read(cls, path: Path) -> Facts | None:
        """Return what the file says; None if it is not one that the daemon has written."""
        try:
            found = orjson.loads(path.read_bytes())
            fingerprint = {str(key): value for key, value in found["fingerprint"].items()}
            size, saved_at = int(found["bytes"]), float(found["saved_at"])
            return cls(size, str(found["sha256"]), saved_at, fingerprint, found.get("note"))
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None


class CacheDirectory:
    """The folder, locked while it is in use. ``root`` is its path; None if there is no cache_directory."""

    def __init__(self, directory: str) -> None:
        """Take it if it is there; ``directory`` is the setting cache_directory."""
        self._directory = directory
        self.root = Path(os.path.realpath(directory), _FOLDER) if directory else None
        self._descriptor: int | None = None
        self._taken = ""
        if self.root is not None and self.root.is_dir() and self.why_not() is None:
            try:
                self._take(LOCK_SECONDS)
            except OSError as error:
                self._taken = f"{self.root}: {error.strerror}."
                log.warning("prompt_caches_not_kept", reason=self._taken)

    def close(self) -> None:
        """Let another daemon have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def why_not(self) -> str | None:
        """Return a sentence on why nothing can be kept here; None if it can."""
        if not self._directory:
            return "the setting cache_directory is empty."
        if not os.access(self._directory, os.W_OK | os.X_OK):
            return (
                f"{self._directory} is not a directory that the daemon's user may write to: make it, or name another "
                "by the setting cache_directory."
            )
        return self._taken or None

    def claim(self) -> Path:
        """Make the folder if there is none, and lock it if that was not done; return its path. Raises OSError."""
        assert self.root is not None
        self.root.mkdir(mode=0o700, exist_ok=True)
        if self._descriptor is None:
            self._take(0.0)
        return self.root

    def make_folder(self) -> Path:
        """Return a new folder for one cache that is being written. Raises OSError."""
        return Path(tempfile.mkdtemp(prefix=placing.FOLDER, dir=self.claim()))

    def owners_folder(self, owner: str) -> Path:
        """Return an owner's folder, which is made if there is none. Raises OSError."""
        assert self.root is not None
        folder = self.root / owner
        folder.mkdir(mode=0o700, exist_ok=True)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        return folder

    def found(self) -> Iterator[tuple[Path, str, Facts, float]]:
        """Read the facts of all caches: folder, name, facts, when it was used. Leftovers of the daemon's are removed.

        A daemon that ended while it wrote leaves a folder, or facts without their cache.
        """
        if self._descriptor is None or self.root is None:
            return
        _remove_folders(self.root)
        for folder in sorted(self.root.iterdir()):
            if folder.is_symlink() or not folder.is_dir() or _OWNER.fullmatch(folder.name) is None:
                continue
            for path in sorted(folder.glob("*" + FACTS)):
                name = path.name.removesuffix(FACTS)
                facts = Facts.read(path) if NAME.fullmatch(name) and not path.is_symlink() else None
                if facts is None:
                    continue
                cache = folder / (name + DATA)
                try:
                    size, used_at = cache.lstat().st_size, path.stat().st_mtime
                except OSError:
                    size, used_at = -1, 0.0
                if size == facts.size_bytes:
                    yield folder, name, facts, used_at
                else:
                    _remove(cache)
                    _remove(path)

    def _take(self, seconds: float) -> None:
        """Lock the folder. Raises OSError; its text is for a sentence."""
        descriptor = os.open(str(self.root), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_uid != os.geteuid():
                raise PermissionError(errno.EACCES, "it belongs to another user")
            os.fchmod(descriptor, 0o700)
            if not lock(descriptor, seconds):
                reason = "another rkllmd keeps its caches there; give this one a cache_directory of its own"
                raise BlockingIOError(errno.EAGAIN, reason)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor


def _remove_folders(directory: Path) -> None:
    """Remove the folders in which a daemon was writing when it ended."""
    for folder in directory.glob(placing.FOLDER + "*"):
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
            log.info("prompt_cache_leftover_removed", path=str(folder))
            placing.remove_folder(folder)


def _remove(path: Path) -> None:
    log.info("prompt_cache_leftover_removed", path=str(path))
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("prompt_cache_not_removed", path=str(path), reason=error.strerror)
