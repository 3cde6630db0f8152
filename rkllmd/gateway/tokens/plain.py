"""What the daemon's lines become for a client, where nothing but the text in them changes from token to token.

Without I/O. Such a line is known by its bytes, and its text is taken over as it is written: JSON is the same on both
sides. Where a client's protocol counts the parts of a stream, they are counted on. Whatever looks different is left to
who reads all that a line says.
"""

from __future__ import annotations

import re
import secrets
from typing import Final, Self

import orjson

from rkllmd.gateway.run import Answer, Framing, NumberedAnswer
from rkllmd.json_types import JsonObject

_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
# What follows the id of a partial result in the bytes of the daemon, which says the same with the same bytes.
_TOKEN: Final = re.compile(
    rb'"result":\{"text":(%b)(?:,"reasoning":(%b))?,"token_id":-?\d+,"_callback_state":[01],"seq":\d+\}\}\n'
    % (_STRING, _STRING)
)
_MEMBERS: Final = {"text", "reasoning", "token_id", "_callback_state", "seq"}
_EMPTY: Final = b'""'
# Stands where the text will be, and nowhere else.
_MARK: Final = secrets.token_hex(16)

Around = tuple[bytes, bytes]


def is_plain(result: JsonObject) -> bool:
    """Return whether a result says no more than the next words, so that those after it may be ``PlainTokens``."""
    return result.keys() <= _MEMBERS


class PlainTokens:
    """Partial results of one call, each of which is a text, or a thought."""

    def __init__(self, call_id: int, text: Around | None, reasoning: Around | None) -> None:
        """``text`` and ``reasoning`` are the bytes around each; None: a client is shown them in another way."""
        self._head = b'{"jsonrpc":"2.0","id":%d,' % call_id
        self._text = text
        self._reasoning = reasoning
        # Where a client is told the number of each part: that of the next one, for which there is %d in the bytes
        # before the words, that of the first one, and all the words, as JSON has them between quotes.
        self._number: int | None = None
        self._first = 0
        self._passed = bytearray()

    @classmethod
    def of(cls, call_id: int, answer: Answer, framing: Framing) -> Self:
        """Return how a stream of this answer goes on."""
        parts = [answer.plain(name, _MARK) for name in ("text", "reasoning")]
        text, reasoning = (None if part is None else _around(framing.frame(part)) for part in parts)
        tokens = cls(call_id, text, reasoning)
        if isinstance(answer, NumberedAnswer):
            tokens._count_from(answer.next_number, answer.number)
        return tokens

    def _count_from(self, number: int, member: str) -> None:
        self._number = self._first = number
        self._text, self._reasoning = (
            None if around is None else (_with_place(around[0], {member: number}), around[1])
            for around in (self._text, self._reasoning)
        )

    @property
    def passes_any(self) -> bool:
        """Return whether there are lines that become something: else nothing is gained by translating them."""
        return self._text is not None or self._reasoning is not None

    def translate(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the plain tokens are for the client with which ``data`` begins, and the rest of it."""
        head, match = self._head, _TOKEN.match
        pieces: list[bytes] = []
        at = 0
        while data.startswith(head, at) and (found := match(data, at + len(head))):
            words, thought, around = found[1], found[2], self._text
            if thought is not None:
                if words != _EMPTY:
                    break
                words, around = thought, self._reasoning
            if words != _EMPTY:
                if around is None:
                    break
                before = around[0]
                if self._number is not None:
                    before %= self._number
                    self._number += 1
                    self._passed += words[1:-1]
                pieces.append(before + words + around[1])
            at = found.end()
        return b"".join(pieces), data[at:]

    def tell(self, answer: Answer) -> None:
        """Let the answer know what was translated, where its parts are numbered."""
        if self._number is not None and isinstance(answer, NumberedAnswer):
            answer.passed(orjson.loads(b'"%b"' % bytes(self._passed)), self._number - self._first)


def _around(framed: bytes) -> Around:
    before, mark, after = framed.partition(orjson.dumps(_MARK))
    assert mark, "the text is shown as it is"
    return before, after


def _with_place(before: bytes, numbered: JsonObject) -> bytes:
    """Return the bytes before words with %d in the place of their number, that of the one member of ``numbered``."""
    start, member, rest = before.replace(b"%", b"%%").partition(orjson.dumps(numbered)[1:-1])
    assert member, "the number stands before the words"
    return start + member.rpartition(b":")[0] + b":%d" + rest
