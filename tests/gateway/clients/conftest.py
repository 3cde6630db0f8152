"""One daemon and one gateway for all clients."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.daemon import starter
from tests.gateway.process import demo_daemon, gateway


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return where a gateway is, in front of the demo model."""
    with (
        starter(tmp_path_factory.mktemp("clients")) as start,
        gateway(demo_daemon(start).path, tmp_path_factory.mktemp("gateway")) as found,
    ):
        yield found


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    """Collect what others' clients leave to the collector, sockets above all, before other tests would be blamed."""
    yield
    gc.collect()
