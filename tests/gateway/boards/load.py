"""Many clients that ask one question after the other, each in a conversation of its own, and what became of each."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.daemon import until
from tests.gateway.boards.board import Board, Client

# What the simulator answers with: the question, whose number is a line of its trace.
SCENARIO: Final = "trace_inputs=1;pace_us=3000"
RIGHT: Final = "right"


def begun(board: Board) -> list[int]:
    """Return the numbers of the questions that the board's model was asked, since the board was last started."""
    return [int(line[4]) for line in board.daemon.trace() if line[2:4] == ["input", "prompt"]]


class Load:
    """``outcomes``: what became of each question that was sent, by its number."""

    def __init__(self, certificates: Path, first: int) -> None:
        """Prepare questions whose numbers begin with ``first``."""
        self.outcomes: dict[int, str] = {}
        self._certificates = certificates
        self._numbers = itertools.count(first)
        self._is_over = False

    def run(self, *, stream: bool) -> None:
        """Ask until it is over."""
        with Client(self._certificates) as client:
            while not self._is_over:
                number = next(self._numbers)
                self.outcomes[number] = _outcome(client, f"What is {number}?", stream=stream)

    def end(self) -> None:
        """Ask nothing more."""
        self._is_over = True

    def wait(self, count: int) -> None:
        """Wait until this many more questions are answered."""
        until_then = len(self.outcomes) + count
        until(f"{until_then} answers", lambda: len(self.outcomes) >= until_then)

    @property
    def wrong(self) -> dict[int, str]:
        """Return those that were not answered as they should have been."""
        return {number: outcome for number, outcome in self.outcomes.items() if outcome != RIGHT}


def _outcome(client: Client, question: str, *, stream: bool) -> str:
    """Return what an answer is: right, its status and kind of error, "cut off" behind its headers, or none at all.

    A whole answer is never cut off: it is sent at once.
    """
    said: list[dict[str, Any]] = [{"role": "user", "content": question}]
    has_begun = False
    try:
        with client.asked(messages=said, stream=stream) as response:
            has_begun = True
            body = response.read()
    except httpx.TransportError:
        return ("cut off" if stream else "a whole answer is cut off") if has_begun else "not answered"
    is_stream = response.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")] if is_stream else [body]
    events = [json.loads(line) for line in lines]
    for event in events:
        if "error" in event:
            return f"{response.status_code} {event['error']['code']}"
    parts = [choice.get("delta") or choice.get("message") or {} for event in events for choice in event["choices"]]
    text = "".join(part.get("content") or "" for part in parts)
    return RIGHT if question in text else text


@contextmanager
def loaded(certificates: Path, clients: int, first: int) -> Iterator[Load]:
    """Let this many clients ask, every second one for streams; all are answered at the end."""
    load = Load(certificates, first)
    threads = [threading.Thread(target=load.run, kwargs={"stream": bool(n % 2)}) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.end()
        for thread in threads:
            thread.join()
