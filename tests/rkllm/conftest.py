"""The boards that the tests of the RKLLM functions share, and a library that tells what rkllm_init was given."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.rkllm.board import Board


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Board]]:
    """Boards by version; they live as long as pytest's process."""
    running: dict[str, Board] = {}
    yield running
    for board in running.values():
        board.stop()


@pytest.fixture(params=["1.2.3", "1.3.0", "1.3.1"], ids=["1.2", "1.3", "1.3.1"])
def version(request: pytest.FixtureRequest) -> str:
    """All layouts; ``parametrize("version", …)`` chooses one."""
    return str(request.param)


@pytest.fixture
def board(version: str, boards: dict[str, Board], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """Return a daemon without a model; what the test leaves loaded is unloaded behind it."""
    found = boards.pop(version, None) or Board(
        tmp_path_factory.mktemp("board") / version,
        version,
        "--writable-directories",
        str(tmp_path_factory.getbasetemp()),
    )
    found.begin()
    try:
        yield found
        found.end()
    except BaseException:
        found.daemon.stop(9)  # nobody after this test has to live with its state
        raise
    boards[version] = found


@pytest.fixture
def new_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Board]]:
    """Start boards with settings of their own: ``new_board("1.3.0", "--max-models", "2")``."""
    started: list[Board] = []

    def make(version: str, *arguments: str) -> Board:
        started.append(Board(tmp_path_factory.mktemp("board") / version, version, *arguments))
        return started[-1]

    yield make
    for board in started:
        board.stop()
        assert board.complaints() == []
