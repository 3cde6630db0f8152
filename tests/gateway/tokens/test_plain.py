"""A client is sent the same for a line of the daemon's, whether its bytes are taken over or all of it is read."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from rkllmd.gateway.anthropic.messages import MESSAGES
from rkllmd.gateway.ollama.run_answer import CHAT as OLLAMA_CHAT
from rkllmd.gateway.ollama.run_answer import GENERATE
from rkllmd.gateway.openai.chat import CHAT
from rkllmd.gateway.openai.completion import COMPLETION
from rkllmd.gateway.openai.response_answer import ResponseAnswer
from rkllmd.gateway.openai.responses import RESPONSES
from rkllmd.gateway.run import Answer, Protocol
from rkllmd.gateway.tokens import plain
from rkllmd.gateway.tokens.plain import PlainTokens, is_plain
from rkllmd.wire import jsonrpc

ID = 281474976710655
encode = jsonrpc.partial_encoder(ID, as_notifications=False)
HELLO = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
BODIES = {
    CHAT: HELLO,
    COMPLETION: {"prompt": "Hello"},
    OLLAMA_CHAT: HELLO,
    GENERATE: {"model": "demo", "prompt": "Hello"},
    MESSAGES: {**HELLO, "max_tokens": 9},
    RESPONSES: {"input": "Hello"},
}
FINAL = {"text": "", "token_id": 0, "_callback_state": 2, "seq": 9, "finish_reason": "stop"}
WORDS = ["a", " ", 'say "no",', "\\", '\\"', "\n\t\x00\x7f", "ä😀\u2028", "%d%"]
WORDS += ['","token_id":1,', "}}\n{", "x" * 70_000]


def token(text: str, seq: int = 0, state: int = 0, **more: Any) -> dict[str, Any]:
    return {"text": text, **more, "token_id": -1 if seq == 1 else 17, "_callback_state": state, "seq": seq}


def begun(protocol: Protocol, *results: dict[str, Any]) -> Answer:
    answer = protocol.answer(protocol.read(BODIES[protocol]), "demo")
    for _ in answer.begin():
        pass
    for result in results:
        for _ in answer.partial(result):
            pass
    return answer


def read(answer: Answer, protocol: Protocol, *results: dict[str, Any]) -> bytes:
    return b"".join(protocol.framing.frame(part) for result in results for part in answer.partial(result))


def translated(tokens: PlainTokens, results: list[dict[str, Any]], *, together: bool) -> bytes:
    """Return what results become that come in one piece, or one by one; nothing may be left of them."""
    lines = [encode(result) for result in results]
    pieces, rests = zip(*map(tokens.translate, [b"".join(lines)] if together else lines), strict=True)
    assert not any(rests)
    return b"".join(pieces)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("protocol", BODIES)
def test_texts_are_the_same_for_every_client(protocol: Protocol, *, together: bool) -> None:
    results = [token(text, seq) for seq, text in enumerate(WORDS)] + [token("", 3, 1)]
    answer = begun(protocol, token("first"))
    tokens = PlainTokens.of(ID, answer, protocol.framing)
    assert translated(tokens, results, together=together) == read(answer, protocol, *results)
    assert all(map(is_plain, results))


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("protocol", [CHAT, OLLAMA_CHAT, GENERATE, MESSAGES, RESPONSES])
def test_so_are_thoughts(protocol: Protocol, *, together: bool) -> None:
    results = [token("", seq, reasoning=words) for seq, words in enumerate(WORDS)]
    answer = begun(protocol, results[0])
    tokens = PlainTokens.of(ID, answer, protocol.framing)
    assert translated(tokens, results, together=together) == read(answer, protocol, *results)


@pytest.mark.parametrize("kind", ["text", "reasoning"])
def test_a_line_of_words_without_quotation_marks_needs_no_regular_expression(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "_TOKEN", None)
    tokens = PlainTokens(ID, (b"<", b">"), (b"[", b"]"))
    line = encode(token("ä\n") if kind == "text" else token("", reasoning="ä\n"))
    assert tokens.translate(line) == ((b'<"%b">' if kind == "text" else b'["%b"]') % "ä\\n".encode(), b"")


@pytest.mark.parametrize("kind", ["text", "reasoning"])
def test_what_counts_its_parts_knows_what_has_passed(kind: str) -> None:
    def of(text: str) -> dict[str, Any]:
        return token(text) if kind == "text" else token("", reasoning=text)

    short, long = (ResponseAnswer("demo", "resp_%d", 7, {}) for _ in range(2))
    for answer in (short, long):
        read(answer, RESPONSES, of("first"))
    lines = [of(text) for text in WORDS]
    for part in (lines[:4], lines[4:], []):
        tokens = PlainTokens.of(ID, short, RESPONSES.framing)
        assert tokens.translate(b"".join(map(encode, part))) == (read(long, RESPONSES, *part), b"")
        tokens.tell(short)
    assert [*short.final(FINAL)] == [*long.final(FINAL)]


@pytest.mark.parametrize(
    ("protocol", "before", "passes"),
    [
        (CHAT, [], True),
        (COMPLETION, [token("a")], True),
        (MESSAGES, [], False),
        (MESSAGES, [token("", reasoning="a")], True),
        (RESPONSES, [], False),
        (RESPONSES, [token("a")], True),
    ],
    ids=["all", "texts alone", "no block yet", "a block of thoughts", "no item yet", "an item"],
)
def test_it_is_known_where_nothing_can_be_taken_over(
    protocol: Protocol, before: list[dict[str, Any]], *, passes: bool
) -> None:
    assert PlainTokens.of(ID, begun(protocol, *before), protocol.framing).passes_any is passes


@pytest.mark.parametrize(
    "line",
    [
        encode(token("a", tool_calls=[])),
        encode({**token("a"), "more": 1}),
        encode({**token("a"), "_callback_state": 2, "finish_reason": "stop", "perf": {}}),
        encode(token("a", reasoning="b")),
        encode(token("b"))[:-2],
        encode({"text": "a", "a": 0, "b": 0, "c": 0}),
        encode({"batch": [token("a")], "_callback_state": 0, "seq": 0}),
        jsonrpc.partial_encoder(ID + 1, as_notifications=False)(token("a")),
        orjson.dumps({"jsonrpc": "2.0", "id": ID, "error": {"code": 1}}) + b"\n",
        json.dumps({"jsonrpc": "2.0", "id": ID, "result": token("a")}).encode() + b"\n",
        b"\n",
    ],
)
def test_what_says_more_or_is_cut_is_left_with_all_that_follows(line: bytes) -> None:
    answer = begun(CHAT)
    tokens = PlainTokens.of(ID, answer, CHAT.framing)
    piece, rest = tokens.translate(encode(token("x")) + line + encode(token("y")))
    assert piece == read(answer, CHAT, token("x"))
    assert rest == line + encode(token("y"))
    assert tokens.translate(line) == (b"", line)


@pytest.mark.parametrize(
    ("protocol", "before", "result"),
    [
        (RESPONSES, [token("a")], token("", reasoning="b")),
        (RESPONSES, [token("", reasoning="a")], token("b")),
        (MESSAGES, [], token("b")),
        (MESSAGES, [token("a")], token("", reasoning="b")),
        (MESSAGES, [token("", reasoning="a")], token("b")),
        (COMPLETION, [token("a")], token("", reasoning="b")),
    ],
    ids=[
        "another item",
        "an item after thoughts",
        "no block yet",
        "another block",
        "after thoughts",
        "no thoughts shown",
    ],
)
def test_words_that_change_more_are_left(
    protocol: Protocol, before: list[dict[str, Any]], result: dict[str, Any]
) -> None:
    tokens = PlainTokens.of(ID, begun(protocol, *before), protocol.framing)
    line = encode(result)
    assert tokens.translate(line) == (b"", line)
