"""What the tests of the configuration share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rkllmd.config.sources import load
from rkllmd.config.values import ConfigError


def written(directory: Path, text: str) -> Path:
    path = directory / "rkllmd.toml"
    path.write_text(text)
    return path


def refused(
    environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None, file: Path | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        load(environ or {}, flags or {}, file)
    return str(caught.value)
