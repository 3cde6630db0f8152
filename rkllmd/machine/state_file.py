"""What the daemon learns and keeps across restarts: JSON objects in its state directory. Nothing depends on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson
import structlog

log = structlog.get_logger()

T = TypeVar("T")


def read(path: Path | None, name: str, convert: Callable[[Any], T], default: T) -> T:
    """Return what the file holds, by ``convert``; ``default`` if there is none, or if it makes no sense."""
    if path is None:
        return default
    try:
        return convert(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return default
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning(f"{name}_not_read", path=str(path), reason=str(error))
        return default


def write(path: Path, name: str, content: Mapping[str, object]) -> None:
    """Replace the file; a failure is logged. A crash leaves the old file or the new one, never half of one."""
    try:
        beside = path.with_suffix(".new")
        beside.write_bytes(orjson.dumps(content))
        beside.replace(path)
    except (OSError, TypeError) as error:
        log.warning(f"{name}_not_saved", path=str(path), reason=str(error))
