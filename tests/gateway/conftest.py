"""One daemon with the demo model, and one gateway before it, for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon import starter
from tests.gateway.process import demo_daemon, gateway


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the socket of a daemon with the demo model."""
    with starter(tmp_path_factory.mktemp("demo")) as start:
        yield demo_daemon(start).path


@pytest.fixture(scope="package")
def address(demo: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where a gateway is, in front of the demo model."""
    with gateway(demo, tmp_path_factory.mktemp("gateway")) as found:
        yield found
