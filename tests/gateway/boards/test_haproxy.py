"""Boards behind HAProxy, set up as examples/boards/haproxy.cfg is."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.daemon import Start, until
from tests.gateway.boards.board import CONFIGURATION, Board, Client, balanced, certified

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed: apt install haproxy")
TEXT = "abcdef"
# The first run of a board stops in the middle, the others do not.
STUCK = f"text={TEXT};run=hang@2;run_nth=1"


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    return certified(tmp_path, 2)


@pytest.fixture
def boards(certificates: Path, tmp_path: Path, start: Start) -> Iterator[list[Board]]:
    found = [Board(number, tmp_path, certificates, start, STUCK) for number in (1, 2)]
    yield found
    for board in found:
        board.stop()


@pytest.fixture
def wait_said(boards: list[Board], certificates: Path) -> Iterator[Callable[[str], None]]:
    """Run HAProxy; return a function that waits until it says something."""
    with balanced([board.address for board in boards], certificates) as wait:
        yield wait


def _runs(boards: list[Board], event: str = "enter") -> int:
    return sum(board.daemon.calls("rkllm_run_async", event) for board in boards)


def test_one_percent_of_the_weight_is_not_nothing() -> None:
    """A board of weight 0 gets no new conversation, and a busy one may be told to have one percent."""
    [weight] = re.findall(r"default-server .*\bweight (\d+)", CONFIGURATION.read_text())
    assert int(weight) // 100 >= 1


def test_nothing_is_lost_that_had_not_begun_and_the_board_comes_back(
    boards: list[Board], certificates: Path, wait_said: Callable[[str], None]
) -> None:
    with Client(certificates) as client, ThreadPoolExecutor() as threads:
        with client.asked(stream=True) as begun:
            killed, other = sorted(boards, key=Board.runs, reverse=True)
            assert (killed.runs(), other.runs()) == (1, 0)
            other.daemon.play(text=TEXT)
            # The same conversation waits for the board that has it, streamed or not; another one goes elsewhere.
            waiting = [threads.submit(client.answer, stream=stream) for stream in (False, True, True)]
            until("all of them wait", lambda: killed.waiting() == len(waiting))
            assert client.answer("another") == (200, TEXT)
            assert (killed.runs(), other.runs()) == (1, 1)
            killed.kill()
            with pytest.raises(httpx.TransportError):
                begun.read()
        assert [call.result() for call in waiting] == [(200, TEXT)] * len(waiting)
        assert other.runs() == 1 + len(waiting)
        wait_said("is DOWN")
        killed.start(f"text={TEXT}")
        wait_said("is UP")
        names = (f"conversation {number}" for number in itertools.count())
        until("it is given work again", lambda: client.answer(next(names)) == (200, TEXT) and killed.runs() > 0)
        # Who hangs up ends the run, through the balancer too.
        for board in boards:
            board.daemon.play(text="ab", repeat=1_000_000, pace_us=1000)
        entered, ended = _runs(boards), _runs(boards, "finished")
        client.leave(lambda: _runs(boards) > entered)
        until("the run was ended", lambda: _runs(boards, "finished") > ended)
