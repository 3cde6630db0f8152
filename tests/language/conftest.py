"""The loop that the tests of generations share."""

from __future__ import annotations

import pytest

from tests.language.generation.generations import Loop


@pytest.fixture
def loop() -> Loop:
    return Loop()
