"""How likely tokens were, as lists."""

from __future__ import annotations

from typing import Any

from rkllmd.gateway.logprobs.lists import Lists


def token(text: bytes, logprob: float, *others: dict[str, Any]) -> dict[str, Any]:
    shown = text.decode("utf-8", "replace")
    return {"token": shown, "bytes": [*text], "logprob": logprob, "top_logprobs": [*others]}


def test_each_token_has_its_place_in_the_text() -> None:
    making = Lists()
    euro = "€".encode()
    assert making.of([]) is None
    first = making.of([token(b"ab", -0.5, token(b"c", -0.25), token(b"ab", -0.5)), token(euro[:2], -1.0)])
    assert first == {
        "tokens": ["ab", "\ufffd"],
        "token_logprobs": [-0.5, -1.0],
        "top_logprobs": [{"c": -0.25, "ab": -0.5}, {"\ufffd": -1.0}],
        "text_offset": [0, 2],
    }
    rest = making.of([token(euro[2:], -1.5), token(b"d", -2.0)])
    assert rest is not None
    assert rest["text_offset"] == [2, 3], "bytes of a character count when it is whole"


def test_of_several_with_one_text_the_likeliest_is_told() -> None:
    found = Lists().of([token(b"\xff", -3.0, token(b"\xfe", -1.0), token(b"\xfd", -2.0))])
    assert found is not None
    assert found["top_logprobs"] == [{"\ufffd": -1.0}]
