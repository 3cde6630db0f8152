"""The JSON files in which versions up to 0.2 kept what they had learned: taken over once, and removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import orjson
import structlog

from rkllmd.json_types import Json
from rkllmd.store import learned
from rkllmd.store.learned import Learned
from rkllmd.store.store import Store

log = structlog.get_logger()

T = TypeVar("T")

# The tables are read next. A disk that takes longer has them for the next start.
_SECONDS: Final = 5.0


def take_over(store: Store, state_directory: str) -> None:
    """Write to the store what the old files hold, and remove them when it is there. Nothing depends on them."""
    if not store.is_lasting:
        return
    directory = Path(state_directory)
    _take_over(directory / "history.json", learned.durations(store), lambda item: learned.mean_of(*item))
    _take_over(directory / "memory.json", learned.footprints(store), learned.size_of)
    _take_over(directory / "trials.json", learned.verdicts(store), learned.verdict_of)
    found = [path for name in ("history.json", "memory.json", "trials.json") if (path := directory / name).exists()]
    if found and store.wait(seconds=_SECONDS, durable=True) is None:
        _remove(found)


def _take_over(path: Path, table: Learned[str, T], convert: Callable[[Json], T]) -> None:
    try:
        content = orjson.loads(path.read_bytes())
        table.put({str(key): convert(item) for key, item in content.items()})
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("old_file_not_read", path=str(path), reason=str(error))
    else:
        log.info("old_file_taken_over", path=str(path))


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
