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
    crash = rounds.crash(function, kind)
    assert (crash.wrong, crash.leaked) == ([], []), f"{kind} in {function}"


def test_what_is_left_behind_is_found(rounds: Rounds) -> None:
    assert rounds.leftovers is not None
    left = rounds.daemon.directory / "core"
    left.touch()
    with rounds.daemon.connect() as wire:
        wire.ask("server.queue")  # only a connection that was accepted has a descriptor
        found = rounds.leftovers.found(patience_seconds=0)
    left.unlink()
    assert found == ["the daemon's descriptors: more {'socket': 1}, less {}", "files: more {'core': 1}, less {}"]
