"""Fixtures for all tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons: ``start(scenario=…, version=…, *arguments)``; they are stopped at the end of the test."""
    with contextlib.ExitStack() as stack:

        def make(*arguments: str, **options: Any) -> Daemon:
            directory = tmp_path / f"daemon{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return stack.enter_context(Daemon(directory, *arguments, **options))

        yield make
