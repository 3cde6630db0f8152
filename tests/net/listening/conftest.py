"""The path of a socket, and a socket that accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.net.listening.sockets import Accepting, bound


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rkllm.sock")


@pytest.fixture
async def accepting(path: str) -> Any:
    with bound(path) as listening:
        async with trio.open_nursery() as nursery:
            started = Accepting(listening, nursery)
            yield started
            nursery.cancel_scope.cancel()
        for socket in started.sockets:
            socket.close()
