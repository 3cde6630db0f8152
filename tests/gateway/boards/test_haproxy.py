"""Four boards behind HAProxy, set up as examples/boards/haproxy.cfg is."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.daemon import ENDLESS, Start, until
from tests.gateway.boards.board import CONFIGURATION, Board, Client, administer, balanced, certified, weights
from tests.gateway.boards.load import SCENARIO, begun, loaded

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="HAProxy is not installed: apt install haproxy")
COUNT = 4
# Three for each board.
CLIENTS = 3 * COUNT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boards")


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Path:
    return certified(folder, COUNT)


@pytest.fixture(scope="module")
def running(certificates: Path, folder: Path, start_for_module: Start) -> Iterator[list[Board]]:
    with ThreadPoolExecutor() as threads:
        starting = [
            threads.submit(Board, number + 1, folder, certificates, start_for_module, SCENARIO)
            for number in range(COUNT)
        ]
    found = [board.result() for board in starting]
    yield found
    for board in found:
        board.stop()


@pytest.fixture(scope="module")
def wait_said(running: list[Board], certificates: Path) -> Iterator[Callable[[str], None]]:
    """Run HAProxy; return a function that waits until it says something."""
    with balanced([board.address for board in running], certificates) as wait:
        yield wait


@pytest.fixture
def boards(running: list[Board], wait_said: Callable[[str], None]) -> list[Board]:
    """Return the boards behind HAProxy, all of them as at their start."""
    for board in running:
        board.play(SCENARIO)
    return running


@pytest.fixture
def client(certificates: Path, boards: list[Board]) -> Iterator[Client]:
    with Client(certificates) as found:
        yield found


numbers = itertools.count(1_000_000, 1_000_000)


def asked(client: Client, boards: list[Board], question: int) -> Board:
    """Ask a question; return the board that was asked."""
    before = [len(begun(board)) for board in boards]
    assert f"{question}?" in client.answer(messages=_said(f"What is {question}?"))[1]
    [found] = [board for board, count in zip(boards, before, strict=True) if len(begun(board)) > count]
    return found


def test_one_percent_of_the_weight_is_not_nothing() -> None:
    """A board of weight 0 gets no new conversation, and a busy one may be told to have one percent."""
    [weight] = re.findall(r"default-server .*\bweight (\d+)", CONFIGURATION.read_text())
    assert int(weight) // 100 >= 1


def test_many_clients_are_answered_by_all_boards(boards: list[Board], certificates: Path) -> None:
    before = [len(begun(board)) for board in boards]
    with loaded(certificates, CLIENTS, next(numbers)) as load:
        load.wait(20 * COUNT)
    assert load.wrong == {}
    shares = [len(begun(board)) - count for board, count in zip(boards, before, strict=True)]
    assert sum(shares) == len(load.outcomes), "each question was asked once"
    assert min(shares) >= len(load.outcomes) / COUNT / 2, shares


def _asked_boards(boards: list[Board], client: Client, requests: Iterable[tuple[str, Any, dict[str, str]]]) -> set[int]:
    """Send requests, each a path, a body and headers; return which boards were asked."""
    before = [board.runs() for board in boards]
    for path, body, headers in requests:
        client.send(path, body, **headers)
    return {number for number in range(COUNT) if boards[number].runs() > before[number]}


def _said(*texts: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), texts, strict=False)]


PARTS: Any = [{"type": "text", "text": "What is it?"}]
# A conversation's first and next turn, as each protocol has them, without what is the same in both.
CONVERSATIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": _said("One?")}, {"messages": _said("One?", "1", "Two?")}),
    "with a system": (
        "/v1/chat/completions",
        {"messages": [{"role": "system", "content": "Be brief."}, *_said("Three?")]},
        {"messages": [{"role": "system", "content": "Be brief."}, *_said("Three?", "3", "Four?")]},
    ),
    "ollama": ("/api/chat", {"messages": _said("Five?")}, {"messages": _said("Five?", "5", "Six?")}),
    "anthropic": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": PARTS}], "max_tokens": 99},
        {"messages": [{"role": "user", "content": PARTS}, *_said("", "It is.", "Sure?")[1:]], "max_tokens": 99},
    ),
    "responses": ("/v1/responses", {"input": _said("Seven?")}, {"input": _said("Seven?", "7", "Eight?")}),
    "a text": ("/v1/responses", {"input": "Nine?"}, {"input": _said("Nine?", "9", "Ten?")}),
}


@pytest.mark.parametrize("protocol", CONVERSATIONS)
def test_a_conversation_stays_with_its_board(boards: list[Board], client: Client, protocol: str) -> None:
    path, first, following = CONVERSATIONS[protocol]
    key = {"x-api-key": "a"} if protocol == "anthropic" else {"authorization": "Bearer a"}
    turns = [(path, {"model": "model", "stream": False, **body}, key) for body in (first, *[following] * COUNT)]
    assert len(_asked_boards(boards, client, turns)) == 1


def test_what_is_named_a_conversation_stays_too_and_others_go_elsewhere(boards: list[Board], client: Client) -> None:
    path, first, _ = CONVERSATIONS["openai"]
    assert len(_asked_boards(boards, client, [(path, first, {"x-conversation": "garden"})] * 2 * COUNT)) == 1
    # All of them on one board: once in a million times.
    others = [(path, first, {"x-conversation": f"garden {n}"}) for n in range(10)]
    assert len(_asked_boards(boards, client, others)) > 1
    keys = [(path, first, {"x-api-key": f"key {n}"}) for n in range(10)]
    assert len(_asked_boards(boards, client, keys)) > 1


def test_a_busy_board_gets_less(boards: list[Board], certificates: Path) -> None:
    busy, *others = boards
    busy.play(ENDLESS)
    first = next(numbers)
    questions = [f"What is {first + n}?" for n in range(6 * COUNT)]
    with Client(certificates) as client, ThreadPoolExecutor(len(questions)) as threads:
        with contextlib.ExitStack() as elsewhere:
            for _ in range(9):
                elsewhere.enter_context(busy.daemon.connect()).request("rkllm.run_async", {"prompt": "0"})
            until("HAProxy knows", lambda: weights(certificates) == [10, 100, 100, 100])
            answers = [threads.submit(client.answer, messages=_said(question)) for question in questions]
            until("none waits", lambda: _since(first, others) + busy.waiting() - 8 == len(questions))
            busy.play(SCENARIO)
        assert all(question in answer.result()[1] for question, answer in zip(questions, answers, strict=True))
    assert _since(first, [busy]) <= COUNT


def test_what_an_administrator_takes_out_stays_out(boards: list[Board], certificates: Path, client: Client) -> None:
    out, *_ = boards
    administer(certificates, "set server boards/board0 state drain")
    out.play(ENDLESS)
    with out.daemon.connect() as wire:
        wire.request("rkllm.run_async", {"prompt": "0"})
        until("the board has spoken since then", lambda: weights(certificates)[0] == 50)
        requests: list[tuple[str, Any, dict[str, str]]] = [
            ("/v1/chat/completions", {"messages": _said(f"What is {number}?")}, {}) for number in range(2 * COUNT)
        ]
        assert 0 not in _asked_boards(boards, client, requests)
    administer(certificates, "set server boards/board0 state ready")


def _since(first: int, boards: list[Board]) -> int:
    """Return how many questions with such numbers the boards have begun with."""
    return sum(number >= first for board in boards for number in begun(board))


def _stop_daemon(board: Board) -> None:
    assert board.daemon.stop() == 0


def _start_daemon(board: Board) -> None:
    board.start_daemon(SCENARIO)
    board.stop()  # it looks for the daemon at another path than the new one has
    board.start_gateway()


# What ends: how, what comes back by itself or is started again, and what may become of a call that had begun.
WAYS: dict[str, tuple[Callable[[Board], None], Callable[[Board], None], set[str]]] = {
    "the daemon is killed": (Board.kill_daemon, lambda board: None, {"502 Crashed", "200 Crashed"}),
    "the gateway is killed": (Board.kill_gateway, Board.start_gateway, {"cut off"}),
    "both are killed": (Board.kill, lambda board: board.start(SCENARIO), {"cut off"}),
    "the daemon is stopped": (_stop_daemon, _start_daemon, {"502 ShuttingDown", "200 ShuttingDown"}),
    "the gateway is stopped": (Board.stop, Board.start_gateway, set()),
}


@pytest.mark.parametrize("way", WAYS)
def test_only_what_had_begun_may_fail(boards: list[Board], certificates: Path, way: str) -> None:
    end, start, allowed = WAYS[way]
    ended, *others = boards
    with loaded(certificates, CLIENTS, next(numbers)) as load:
        load.wait(5 * COUNT)
        end(ended)
        load.wait(5 * COUNT)
        had_begun = set(begun(ended))
        start(ended)
        count = len(begun(ended))
        until("it is given work again", lambda: len(begun(ended)) > count + 2)
        load.wait(COUNT)
    assert set(load.wrong.values()) <= allowed
    # Where the daemon ends, however it does, between the turn of a call and C, that is not in the trace: one at most.
    assert len(set(load.wrong) - had_begun) <= way.startswith("the daemon"), load.wrong
    assert not set(load.wrong) & {number for board in others for number in begun(board)}, "it was not begun elsewhere"


def test_what_waits_for_a_board_that_is_gone_goes_elsewhere(
    boards: list[Board], client: Client, wait_said: Callable[[str], None]
) -> None:
    for board in boards:
        board.play(f"{SCENARIO};run=hang@2")
    before = [board.runs() for board in boards]
    with ThreadPoolExecutor() as threads, client.asked(stream=True) as begun_here:
        killed, *others = sorted(boards, key=lambda board: before[boards.index(board)] - board.runs())
        for board in others:
            board.play(SCENARIO)
        # The same conversation waits for the board that has it, streamed or not; another one goes elsewhere.
        waiting = [threads.submit(client.answer, stream=stream) for stream in (False, True, True)]
        until("all of them wait", lambda: killed.waiting() == len(waiting))
        assert asked(client, boards, next(numbers)) in others
        killed.kill()
        with pytest.raises(httpx.TransportError):
            begun_here.read()
        assert ["Hello" in call.result()[1] for call in waiting] == [True] * len(waiting)
    wait_said("is DOWN")
    killed.start(SCENARIO)
    wait_said("is UP")


def test_who_hangs_up_ends_the_run(boards: list[Board], client: Client) -> None:
    for board in boards:
        board.play(ENDLESS)

    def runs(event: str = "enter") -> int:
        return sum(board.daemon.calls("rkllm_run_async", event) for board in boards)

    entered, ended = runs(), runs("finished")
    client.leave(lambda: runs() > entered)
    until("the run was ended", lambda: runs("finished") > ended)
