"""A supervisor to be asked what it does."""

from __future__ import annotations

import pytest

from tests.npu.watching import Watched


@pytest.fixture
async def watched() -> Watched:
    return Watched()
