"""The library, built once, and a function that loads the demo model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rkllmd.portable import build
from rkllmd.portable.driver import GREEDY, Driver
from tests.portable.gguf_rows import tensor_rows
from tests.portable.rkllm.common import (
    DEMO,
    Load,
)


@pytest.fixture(scope="module")
def runtime() -> Path:
    return build.build()


@pytest.fixture
def load(runtime: Path) -> Iterator[Load]:
    """Return a function that loads the demo model; what it loads is destroyed after the test."""
    drivers: list[Driver] = []

    def make(model: Path | str = DEMO, **param: Any) -> Driver:
        given: dict[str, Any] = {**GREEDY, "max_context_len": 1024, **param}
        drivers.append(Driver(runtime, model, **given))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.__exit__()


@pytest.fixture(scope="module")
def embedding_table() -> list[list[float]]:
    return tensor_rows(DEMO, "token_embd.weight")
