"""Boards on the simulator behind HAProxy, as examples/boards has them: how many answers they give."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Final

from tests.bench.gateway.together import seconds_together
from tests.bench.measure import NO_TRACE
from tests.daemon import starter
from tests.gateway.boards.board import Board, Client, balanced, certified

# 20 tokens at 10 ms each: a board that has always something to do gives some five answers a second.
_SCENARIO: Final = "text=abcd ;repeat=20;tokens=words;pace_us=10000"
# This many clients for each board, which ask again as soon as they are answered.
_CLIENTS: Final = 3
_WARM_UP_SECONDS: Final = 1.0


def answers_per_second(folder: Path, count: int, seconds: float) -> float:
    """Return what ``count`` boards give in all, each new conversation wherever HAProxy wants it."""
    certificates = certified(folder, count)
    with starter(folder) as start:
        boards = [Board(n + 1, folder, certificates, start, _SCENARIO, environ=NO_TRACE) for n in range(count)]
        with balanced([board.address for board in boards], certificates):
            found = _ask(certificates, _CLIENTS * count, seconds)
        for board in boards:
            board.stop()
    return found


def _ask(certificates: Path, clients: int, seconds: float) -> float:
    begin = time.monotonic() + _WARM_UP_SECONDS
    answered: list[float] = []
    numbers = itertools.count()

    def ask() -> None:
        with Client(certificates) as client:
            while time.monotonic() < begin + seconds:
                status, _ = client.answer(f"conversation {next(numbers)}")
                assert status == 200
                answered.append(time.monotonic())

    seconds_together(clients, ask)
    return sum(begin <= moment < begin + seconds for moment in answered) / seconds
