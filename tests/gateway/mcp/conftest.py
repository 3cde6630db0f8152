"""What several tests of MCP hosts ask."""

from __future__ import annotations

import pytest

from tests.daemon import ENDLESS, Daemon, Start


@pytest.fixture(scope="module")
def endless(start_for_module: Start) -> Daemon:
    """Return a daemon whose runs go on until they are ended."""
    daemon = start_for_module(scenario=ENDLESS)
    daemon.load(max_new_tokens=-1)
    return daemon
