"""Connections of several users."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Wire
from tests.server.limits.users import Connect


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
