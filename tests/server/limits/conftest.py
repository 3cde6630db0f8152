"""Connections of several users, to daemons whose files all of them may see."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Start, starter
from tests.server.limits.users import Connect
from tests.wire_connection import Wire


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a directory that everybody may enter: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="rkllmd-test-") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture
def start(public: Path) -> Iterator[Start]:
    """Start daemons, as everywhere."""
    with starter(public) as start:
        yield start


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Connect as another user; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def as_user(daemon: Daemon, user: int) -> Wire:
            monkeypatch.chdir(daemon.directory)  # the way there may be closed to others
            os.chmod(daemon.directory, 0o711)
            os.chmod(daemon.path, 0o666)
            os.seteuid(user)
            try:
                return stack.enter_context(Wire(Path(daemon.path).name))
            finally:
                os.seteuid(0)

        yield as_user
