"""How likely tokens were: told with their text, and not those of a stop string."""

from __future__ import annotations

from collections import deque

import orjson
import pytest

from rkllmd.language.texts.likelihoods import Likelihoods
from rkllmd.portable.extension import Likely


def names(told: list[orjson.Fragment]) -> list[str]:
    """Return the texts of tokens."""
    return [item["token"] for item in orjson.loads(orjson.dumps(told))]


def told(tokens: list[bytes], stop: tuple[str, ...] = ()) -> list[list[str]]:
    """Return the tokens that are told with each of these, and at the end."""
    asked = [[Likely(number, -0.5, text)] for number, text in enumerate(tokens)]
    as_they_come = Likelihoods(deque(asked).popleft, stop)
    kept = Likelihoods(deque(asked).popleft, stop, keeps=True)
    found = []
    for text in tokens:
        for likelihoods in (as_they_come, kept):
            likelihoods.take()
        found.append(names(as_they_come.tell(text)))
        assert kept.tell(text) == []
    found.append(names(as_they_come.end()))
    assert names(kept.end()) == [token for part in found for token in part]
    return found


def test_each_is_told_at_once_where_nothing_stops_the_answer() -> None:
    assert told([b"a", b"", b"b"]) == [["a"], [""], ["b"], []]


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([b"a", b"E", b"N", b"D", b"c"], [["a"], [], [], [], [], []]),
        ([b"a", b"E", b"N", b"c"], [["a"], [], [], ["E", "N", "c"], []]),
        ([b"a", b"E", b"N"], [["a"], [], [], ["E", "N"]]),
        ([b"aE", b"ND"], [[], [], ["aE"]]),
    ],
    ids=["a stop string", "none after all", "a beginning of one at the end", "a token that is shown in part"],
)
def test_what_may_become_a_stop_string_is_held_back(tokens: list[bytes], found: list[list[str]]) -> None:
    assert told(tokens, ("END",)) == found


def test_what_is_told() -> None:
    likely = [Likely(7, -0.25, b"\xd1"), Likely(8, -1.5, b"a"), Likely(9, float("-inf"), b"")]
    likelihoods = Likelihoods(lambda: likely)
    likelihoods.take()
    assert orjson.loads(orjson.dumps(likelihoods.tell(None))) == [
        {
            "token_id": 7,
            "token": "\ufffd",
            "bytes": [0xD1],
            "logprob": -0.25,
            "top_logprobs": [
                {"token_id": 8, "token": "a", "bytes": [97], "logprob": -1.5},
                {"token_id": 9, "token": "", "bytes": [], "logprob": -9999.0},
            ],
        }
    ]


def test_a_token_of_which_nothing_is_known_is_left_out() -> None:
    likelihoods = Likelihoods(list)
    likelihoods.take()
    assert likelihoods.tell(b"a") == likelihoods.end() == []
