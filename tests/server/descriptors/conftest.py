"""The daemon that these tests share, with a model whose output is its input."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.daemon import Daemon, Start
from tests.server.descriptors.tensors import FdWire

# Its output is its input, byte for byte.
MODEL = "RKNNSIM\ninput name=image type=uint8 dims=1,4,4,3\noutput name=copy type=uint8 dims=1,48\n"


@pytest.fixture(scope="module")
def shared(start_for_module: Start) -> tuple[Daemon, int]:
    """Return the daemon of those tests that need no scenario, and its model."""
    return _loaded(start_for_module())


@pytest.fixture
def serve(start: Start, shared: tuple[Daemon, int]) -> Callable[..., tuple[Daemon, int]]:
    """Return a daemon and a model that everybody may use; one of its own with a scenario: ``serve(scenario=…)``."""
    # Not between tokens: without trace_callbacks the trace does not tell when a callback waits.
    alone = ("--between-tokens", "never")
    return lambda *arguments, **options: (
        _loaded(start(*alone, *arguments, **options)) if arguments or options else shared
    )


def _loaded(daemon: Daemon) -> tuple[Daemon, int]:
    path = daemon.directory / "copy.rknn"
    path.write_text(MODEL)
    with FdWire(daemon.path) as wire:
        return daemon, int(wire.ask("rknn.init", {"model_path": str(path), "keep": True})["result"]["context"])
