"""A client that looks at all it is told: each request answered once, in order, and nobody else's words."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.server.descriptors.tensors import FdWire, line
from tests.soak.place import Company
from tests.wire_connection import kind

# Each prompt has a mark of its own; the simulator answers with the prompt.
_MARK = re.compile(r"\[m[\w.~]+\]")
# What anybody may be told when others load, cancel and crash. Anything else is a fault.
EXPECTED = frozenset(
    {
        *(None, "AmbiguousHandle", "Cancelled", "Crashed", "DeviceLost", "InvalidHandle", "ModelAlreadyLoaded"),
        *("ModelNotInitialized", "Quarantined", "QueueFull", "RuntimeError", "Timeout"),
    }
)
# How long a client stays away that was told to come back later, or was not let in.
_AGAIN_SECONDS: Final = 0.2
# A client is told that where the daemon crashes again and again; the connection ends then.
_RESTARTING = "Restarting"


class Gone(Exception):
    """The connection has ended before everything was answered; ``daemon`` was the process at its other end."""

    def __init__(self, daemon: int) -> None:
        super().__init__(f"the connection to process {daemon} has ended")
        self.daemon = daemon


@dataclass
class _Request:
    """What is known of a request under way; its text so far in pieces."""

    mark: str
    may: frozenset[str] = frozenset()
    resumes: bool = False
    texts: list[str] = field(default_factory=list)


class Guest:
    """A connection with requests under way."""

    def __init__(self, company: Company) -> None:
        """Connect. Raises Gone."""
        self.number = company.number()
        self.wire = FdWire(company.place.socket)
        # The requests under way by their ids, and the answers that nobody has asked for yet.
        self._open: dict[str, _Request] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._company = company
        self._sent = 0
        self.daemon = 0
        try:
            self.status = dict(self.ask("server.status")["result"])
        except BaseException:
            self.wire.socket.close()
            raise
        self.daemon = int(self.status["daemon_pid"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.wire.__exit__(*error)

    def mark(self, session: str = "") -> str:
        """Return words that no other prompt has, beginning with the session's if there is one."""
        self._sent += 1
        return f"[m{session}{self.number}.{self._sent}]"

    def begin(
        self,
        method: str,
        params: Any = None,
        mark: str = "",
        fds: tuple[int, ...] = (),
        may: frozenset[str] = frozenset(),
        resumes: bool = False,
        **members: Any,
    ) -> str:
        """Send a request; return its id. Raises Gone.

        ``mark`` is what its text has to have, and no other one; ``resumes``: it may go on with a run of the same
        session that was paused. ``may`` are kinds of errors that are no fault here.
        """
        self._sent += 1
        call_id = f"{self.number}-{self._sent}"
        self._open[call_id] = _Request(mark, may, resumes)
        self._company.count("requests")
        try:
            self.wire.send_fds(line(method, params, fds=len(fds), call_id=call_id, **members), fds)
        except (BrokenPipeError, ConnectionResetError):
            raise Gone(self.daemon) from None
        return call_id

    def begin_batch(self, calls: list[tuple[str, Any, str]]) -> list[str]:
        """Send requests as one batch. Raises Gone."""
        lines, ids = [], []
        for method, params, mark in calls:
            self._sent += 1
            ids.append(f"{self.number}-{self._sent}")
            self._open[ids[-1]] = _Request(mark)
            lines.append(line(method, params, call_id=ids[-1]).strip())
        self._company.count("requests", len(ids))
        self.send(b"[" + b",".join(lines) + b"]\n")
        return ids

    def send(self, data: bytes) -> None:
        """Send bytes as they are. Raises Gone."""
        try:
            self.wire.send(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Gone(self.daemon) from None

    def answer(self, call_id: str) -> dict[str, Any]:
        """Return the answer to a request, once it has come; what comes for others meanwhile is looked at as well."""
        while call_id not in self._answers:
            self.receive()
        return self._answers.pop(call_id)

    def ask(self, method: str, params: Any = None, mark: str = "", **members: Any) -> dict[str, Any]:
        """Send a request and return its answer. Raises Gone."""
        return self.answer(self.begin(method, params, mark, **members))

    def receive(self) -> None:
        """Take the next message. Raises Gone."""
        message = self.wire.receive()
        if message is None:
            raise Gone(self.daemon)
        for part in message if isinstance(message, list) else [message]:
            self._take(part)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "server.event":
            self._company.count("events")
            return
        result = message.get("result")
        if message.get("method") == "rkllm.token":
            self._partial(message["params"]["id"], message["params"])
        elif isinstance(result, dict) and result.get("_callback_state") in (0, 1):
            self._partial(message["id"], result)
        elif kind(message) == _RESTARTING:
            self._company.count(f"answers: {_RESTARTING}")
            raise Gone(self.daemon)
        else:
            self._final(message)

    def _partial(self, call_id: str, result: dict[str, Any]) -> None:
        assert call_id in self._open, f"a partial result without an open request: {result}"
        texts = self._open[call_id].texts
        assert result["seq"] == len(texts), f"not the next token: {result}"
        texts.append(result["text"])
        self._company.count("tokens")

    def _final(self, message: dict[str, Any]) -> None:
        call_id = message["id"]
        assert call_id in self._open, f"answered twice, or never asked: {message}"
        request = self._open.pop(call_id)
        assert kind(message) in EXPECTED | request.may, message
        self._company.count(f"answers: {kind(message) or 'result'}")
        result = message.get("result")
        if isinstance(result, dict) and isinstance(result.get("text"), str):
            text = "".join(request.texts) + result["text"]
            is_whole = result.get("finish_reason") == "stop" and not request.resumes
            must_own_the_words(text, request.mark, is_whole=is_whole)
        self._answers[call_id] = message


def must_own_the_words(text: str, mark: str, *, is_whole: bool) -> None:
    """Look that a text has the mark of its prompt, and of no other one but of the same session."""
    found = set(_MARK.findall(text))
    assert mark in found or not is_whole or not mark, f"its own words are not in {text!r}: {mark}"
    session = mark.partition("~")[0] + "~" if "~" in mark else mark
    foreign = [other for other in found if not other.startswith(session)]
    assert not mark or not foreign, f"somebody else's words {foreign} in the answer to {mark}"


def opened(company: Company) -> Guest:
    """Return a connection to whichever daemon serves, once one does."""
    while True:
        try:
            return Guest(company)
        except (Gone, ConnectionRefusedError):
            company.count("connected again")
            time.sleep(_AGAIN_SECONDS)  # the next daemon needs the processor more than those who ask for it
