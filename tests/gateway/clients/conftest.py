"""Clients leave nothing behind for which other tests would be blamed."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Collect what others' clients leave to the collector, sockets above all, before other tests would be blamed."""
    yield
    gc.collect()
