"""The daemon that gets all wrong input."""

from __future__ import annotations

import pytest

from tests.daemon import Daemon, Start


@pytest.fixture(scope="module")
def serving(start_for_module: Start) -> Daemon:
    """One daemon that gets it all."""
    return start_for_module("--max-models", "8")
