"""Tokens that come slowly are sent on the thread that they come on; all others go through the event loop, in order."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMResult
from rkllmd.chat.answers.dialect import DIALECTS
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.language.generation import Generation
from rkllmd.language.texts.transcript import NORMAL, Transcript


class Client:
    """A client whose socket takes a token at once, or does not."""

    def __init__(self) -> None:
        self.is_ready = True
        self.at_once: list[dict[str, Any]] = []
        self.received: list[dict[str, Any]] = []
        self.scheduled: list[Callable[[], None]] = []

    def send_now(self, partial: dict[str, Any]) -> bool:
        """Take a token, if the socket is ready."""
        if self.is_ready:
            self.at_once.append(partial)
            self.received.append(partial)
        return self.is_ready

    def turn_the_loop(self) -> None:
        """Run what was scheduled on the event loop, until nothing is."""
        while self.scheduled:
            self.scheduled.pop(0)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which the test moves."""
    now = [100.0]
    monkeypatch.setattr("rkllmd.language.generation.time.monotonic", lambda: now[0])
    return now


def run(
    client: Client,
    *,
    streamed: bool = True,
    transcript: Transcript | None = None,
    at_token: Callable[[], None] | None = None,
) -> Generation:
    return Generation(
        mode=RKLLMInferMode.RKLLM_INFER_GENERATE,
        transcript=transcript or Transcript(1),
        max_new_tokens=-1,
        can_free_buffer=True,
        wake=client.scheduled.append,
        send=client.received.extend if streamed else None,
        send_now=client.send_now if streamed else None,
        at_token=at_token,
    )


def token(generation: Generation, text: str) -> None:
    result = RKLLMResult(text=text.encode(), token_id=7)
    assert generation.on_result(ctypes.pointer(result), NORMAL) == 0


def texts(client: Client) -> list[str]:
    assert [partial["seq"] for partial in client.received] == list(range(len(client.received)))
    return [partial["text"] for partial in client.received]


def test_a_slow_token_does_not_wake_the_loop(clock: list[float]) -> None:
    client = Client()
    generation = run(client)
    for text in "abc":
        clock[0] += 0.1
        token(generation, text)
    assert texts(client) == ["a", "b", "c"]
    assert client.scheduled == []


def test_fast_tokens_are_left_to_the_loop(clock: list[float]) -> None:
    client = Client()
    generation = run(client)
    for text in "abcd":
        token(generation, text)
    assert [partial["text"] for partial in client.at_once] == ["a"]
    assert len(client.scheduled) == 1
    client.turn_the_loop()
    assert texts(client) == ["a", "b", "c", "d"]


def test_a_slow_token_behind_buffered_ones_keeps_its_place(clock: list[float]) -> None:
    client = Client()
    generation = run(client)
    token(generation, "a")
    token(generation, "b")
    clock[0] += 1
    token(generation, "c")
    assert [partial["text"] for partial in client.at_once] == ["a"]
    client.turn_the_loop()
    assert texts(client) == ["a", "b", "c"]


def test_what_the_socket_does_not_take_goes_through_the_loop_in_order(clock: list[float]) -> None:
    client = Client()
    generation = run(client)
    client.is_ready = False
    for text in "ab":
        clock[0] += 1
        token(generation, text)
    token(generation, "c")
    assert client.received == []
    client.turn_the_loop()
    assert texts(client) == ["a", "b", "c"]


def test_a_slow_token_behind_one_that_the_socket_did_not_take_keeps_its_place(clock: list[float]) -> None:
    """The loop is busy with others meanwhile: what it has not sent yet comes first."""
    client = Client()
    generation = run(client)
    client.is_ready = False
    token(generation, "a")
    client.is_ready = True
    clock[0] += 1
    token(generation, "b")
    client.turn_the_loop()
    assert texts(client) == ["a", "b"]


def test_after_an_abort_the_loop_hears_of_each_token(clock: list[float]) -> None:
    """It repeats an abort that came before the runtime had begun."""
    client = Client()
    generation = run(client)
    heard: list[bool] = []
    generation.on_progress = lambda: heard.append(True)
    generation.abort_requested = True
    clock[0] += 1
    token(generation, "a")
    assert heard == []
    client.turn_the_loop()
    assert heard == [True]


def test_a_run_without_partials_leaves_the_loop_alone(clock: list[float]) -> None:
    client = Client()
    generation = run(client, streamed=False)
    for text in "abc":
        token(generation, text)
    assert client.scheduled == []
    assert generation.final()["text"] == "abc"


@pytest.mark.parametrize("stop", [(), ("Stop",)])
@pytest.mark.parametrize("reads", [False, True])
def test_the_short_way_of_plain_tokens_says_the_same_as_the_long_one(
    clock: list[float], reads: bool, stop: tuple[str, ...]
) -> None:
    """Also of characters that are split, of marks, of what comes in haste and of what the socket does not take."""
    pieces = [b"<think>", b"Hm", b"</think>", b"a ", b"", b"\xe2", b"\x82\xac", b"b", b"</s>", b"c", b"St", b"op", b"d"]
    both = []
    for is_short in (True, False):
        client = Client()
        transcript = Transcript(1, stop)
        if reads:
            transcript.read_by(AnswerReader(DIALECTS["hermes"], stop=stop))
        generation = run(client, transcript=transcript)
        generation._may_be_plain = generation._may_be_plain and is_short
        for number, piece in enumerate(pieces * 3):
            clock[0] += 0.1 if number % 7 else 0.0
            client.is_ready = number % 11 != 9
            assert generation.on_result(ctypes.pointer(RKLLMResult(text=piece, token_id=number)), NORMAL) == 0
            if number % 3 == 0:
                client.turn_the_loop()
        client.turn_the_loop()
        counts = transcript.tokens, transcript.made, transcript.rounds
        both.append((client.received, client.at_once, generation.final(), counts))
    assert both[0] == both[1]
    assert both[0][1], "some are sent at once"


def test_a_plain_token_takes_the_short_way(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    boundaries: list[bool] = []
    generation = run(client, at_token=lambda: boundaries.append(True))
    token(generation, "a")
    monkeypatch.delattr(Transcript, "partial")
    clock[0] += 1
    token(generation, "b")
    assert texts(client) == ["a", "b"]
    assert boundaries == [True, True], "RKNN calls may run after it"


def test_a_run_that_is_to_pause_does_not_take_the_short_way(clock: list[float]) -> None:
    client = Client()
    generation = run(client)
    token(generation, "a")
    clock[0] += 1
    generation.pause_requested = True
    result = RKLLMResult(text=b"b", token_id=7)
    assert generation.on_result(ctypes.pointer(result), NORMAL) == 1, "C is told to pause"


def test_a_failure_on_the_loop_is_logged_and_goes_no_further(clock: list[float]) -> None:
    client = Client()
    generation = run(client)

    def fail(partials: list[dict[str, Any]]) -> None:
        raise RuntimeError("no")

    generation._send = fail
    client.is_ready = False
    clock[0] += 1
    token(generation, "a")
    with capture_logs() as logs:
        client.turn_the_loop()
    assert [entry["event"] for entry in logs] == ["partial_results_failed"]


def test_one_of_several_lanes_counts_as_slow_when_there_is_time_for_all(clock: list[float]) -> None:
    client = Client()
    generation = run(client)
    generation.share_callbacks(4, client.scheduled.append)
    for later, text in ((1.0, "a"), (0.003, "b")):
        clock[0] += later
        token(generation, text)
    assert [partial["text"] for partial in client.at_once] == ["a"]
    client.turn_the_loop()
    clock[0] += 0.005
    token(generation, "c")
    assert [partial["text"] for partial in client.at_once] == ["a", "c"]
    assert texts(client) == ["a", "b", "c"]
