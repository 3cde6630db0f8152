"""One daemon at a time has a directory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.store.lock import lock

# Longer than a test takes that passes.
PATIENCE = 60.0


@pytest.fixture
def twice(tmp_path: Path) -> Iterator[list[int]]:
    """Open a directory as two daemons would."""
    descriptors = [os.open(tmp_path, os.O_RDONLY) for _ in "12"]
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_the_second_does_not_get_it_and_the_first_may_ask_again(twice: list[int]) -> None:
    first, second = twice
    assert lock(first, 0.0)
    assert not lock(second, 0.0)
    assert not lock(second, 0.05)
    assert lock(first, 0.0)


def test_one_that_waits_gets_it_when_the_first_is_gone(twice: list[int]) -> None:
    first, second = twice
    assert lock(first, 0.0)
    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(lock(second, PATIENCE)))
    waiting.start()
    os.close(first)
    waiting.join(PATIENCE)
    twice[0] = os.open(".", os.O_RDONLY)
    assert found == [True]


def test_what_can_not_be_locked_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock(1_000_000, 0.0)
