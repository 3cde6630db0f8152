"""A part of the crashes: each function in one way, another one each day. ``make crashes`` has all of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.crashes.rounds import ENDS, FUNCTIONS, Rounds

TODAY = datetime.now(UTC).toordinal()


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    made = Rounds(tmp_path_factory.mktemp("crashes"))
    yield made
    assert made.daemon.stop() == 0


@pytest.mark.parametrize(("number", "function"), list(enumerate(FUNCTIONS)))
def test_after_a_crash_the_next_daemon_serves_and_knows_of_it(rounds: Rounds, number: int, function: str) -> None:
    kind = list(ENDS)[(number + TODAY) % len(ENDS)]
    assert rounds.crash(function, kind).wrong == [], f"{kind} in {function}"
