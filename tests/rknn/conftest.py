"""The daemons and connections that the tests of RKNN share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon import BUILD_DIRECTORY, Daemon
from tests.rknn.board import ECHO, Client, Simulator, b64, client, until_nothing_is_held


@pytest.fixture(scope="module")
def portable_daemon(start_for_module: Callable[..., Daemon]) -> Daemon:
    """Return a daemon on the portable runtimes."""
    return start_for_module(runtime="portable")


@pytest.fixture
def portable(portable_daemon: Daemon) -> Iterator[Client]:
    """Return a connection to the portable daemon; when it is closed, nothing may be left."""
    with client(portable_daemon) as wire:
        yield wire
    until_nothing_is_held(portable_daemon)


@pytest.fixture(scope="module")
def simulator_board(start_for_module: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    """Return a daemon on both simulators that allows what is refused by default."""
    board = Simulator(
        start_for_module,
        tmp_path_factory.mktemp("simulator"),
        *("--operator-directories", str(BUILD_DIRECTORY), "--allow-physical-addresses", "true"),
    )
    # The simulator opens its trace with the first call, and it stays open: tests count descriptors.
    with board.client() as wire:
        wire.result("rknn.destroy", {"context": wire.result("rknn.init", {"model": {"data": b64(ECHO)}})["context"]})
    return board


@pytest.fixture
def board(simulator_board: Simulator) -> Iterator[Simulator]:
    """Return the simulators' daemon with an empty scenario; at the end nothing may be left in it."""
    simulator_board.clear()
    with simulator_board:
        yield simulator_board
        simulator_board.play({})


@pytest.fixture
def simulator(board: Simulator) -> Iterator[Client]:
    """Return a connection to the simulators' daemon."""
    with board.client() as wire:
        yield wire


@pytest.fixture
def own_simulator(start: Callable[..., Daemon], tmp_path: Path) -> Callable[..., Simulator]:
    """Return a function that starts a daemon on both simulators for one test."""
    return lambda *arguments, **options: Simulator(start, tmp_path / "own", *arguments, **options)
