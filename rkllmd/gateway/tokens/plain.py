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
# The same for a text, for a thought, and what follows the words of both.
_TEXT: Final = b'"result":{"text":'
_THOUGHT: Final = b'"result":{"text":"","reasoning":'
_REST_BEGINS: Final = b',"token_id":'
_REST: Final = _REST_BEGINS + b'0,"_callback_state":0,"seq":0}}\n'
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

    def __init__(self, call_id: int, text: Around | None, reasoning: Around | None, number: int | None = None) -> None:
        """``text`` and ``reasoning`` are the bytes around each; None: a client is shown them in another way.

        ``number``: that of the next part, where a client is told it of each: there is %d in the bytes before the words.
        """
        self._head = b'{"jsonrpc":"2.0","id":%d,' % call_id
        self._text = text
        self._reasoning = reasoning
        self._number = number
        self._first = number or 0
        # All the words that were numbered, as JSON has them between quotes.
        self._passed = bytearray()
        # By how many quotation marks a line has that says no more than words: how it begins, and what is around them.
        self._lines = {
            (line + _EMPTY + _REST).count(b'"'): (line, around)
            for line, around in ((self._head + _TEXT, text), (self._head + _THOUGHT, reasoning))
            if around is not None
        }

    @classmethod
    def of(cls, call_id: int, answer: Answer, framing: Framing) -> Self:
        """Return how a stream of this answer goes on."""
        parts = [answer.plain(name, _MARK) for name in ("text", "reasoning")]
        text, reasoning = (None if part is None else _around(framing.frame(part)) for part in parts)
        if not isinstance(answer, NumberedAnswer):
            return cls(call_id, text, reasoning)
        numbered = {answer.number: answer.next_number}
        return cls(call_id, _with_place(text, numbered), _with_place(reasoning, numbered), answer.next_number)

    @property
    def passes_any(self) -> bool:
        """Return whether there are lines that become something: else nothing is gained by translating them."""
        return self._text is not None or self._reasoning is not None

    def translate(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what the plain tokens are for the client with which ``data`` begins, and the rest of it.

        Nearly always ``data`` is one line. That is known without a regular expression, whose code the processor has
        forgotten from one token to the next: words in which there is a quotation mark have another one too many, and so
        has whatever says more.
        """
        known = self._lines.get(data.count(b'"'))
        if known is not None and data.startswith(known[0]) and data.endswith(b"}}\n"):
            end = data.find(_REST_BEGINS)
            if end > 0:
                return self._shown(data[len(known[0]) : end], known[1]), b""
        return self._translate_all(data)

    def _translate_all(self, data: bytes) -> tuple[bytes, bytes]:
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
                pieces.append(self._shown(words, around))
            at = found.end()
        return b"".join(pieces), data[at:]

    def _shown(self, words: bytes, around: Around) -> bytes:
        if words == _EMPTY:
            return b""
        before, after = around
        if self._number is not None:
            before %= self._number
            self._number += 1
            self._passed += words[1:-1]
        return before + words + after

    def tell(self, answer: Answer) -> None:
        """Let the answer know what was translated, where its parts are numbered."""
        if self._number is not None and isinstance(answer, NumberedAnswer):
            answer.passed(orjson.loads(b'"%b"' % bytes(self._passed)), self._number - self._first)


def _around(framed: bytes) -> Around:
    before, mark, after = framed.partition(orjson.dumps(_MARK))
    assert mark, "the text is shown as it is"
    return before, after


def _with_place(around: Around | None, numbered: JsonObject) -> Around | None:
    """Return the bytes around words with %d in the place of their number, that of the one member of ``numbered``."""
    if around is None:
        return None
    start, member, rest = around[0].replace(b"%", b"%%").partition(orjson.dumps(numbered)[1:-1])
    assert member, "the number stands before the words"
    return start + member.rpartition(b":")[0] + b":%d" + rest, around[1]
