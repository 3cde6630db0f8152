"""/v1/embeddings: the request, and vectors as OpenAI has them."""

from __future__ import annotations

from array import array

import pytest

from rkllmd.gateway.embeddings.protocol import Vectors, WantedVectors
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.openai.embedding import answer, read

FOUND = Vectors("m", [array("f", [1.0, 0.0]), array("f", [0.0, -1.0])], 7)


def test_a_request_says_what_and_how() -> None:
    wanted = read({"model": "m", "input": ["a"], "encoding_format": "base64", "dimensions": 2, "user": "u"})
    assert wanted == WantedVectors("m", ["a"], 2, is_base64=True)
    with pytest.raises(WrongField) as refused:
        read({"input": "a", "encoding_format": "int8"})
    assert refused.value.name == "encoding_format"


def test_vectors_come_in_their_order() -> None:
    shown = answer(read({"input": ["a", "b"]}), FOUND)
    assert [(item["index"], item["embedding"]) for item in shown["data"]] == [(0, [1.0, 0.0]), (1, [0.0, -1.0])]
    assert shown["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    packed = answer(read({"input": ["a", "b"], "encoding_format": "base64"}), FOUND)
    assert packed["data"][0]["embedding"] == "AACAPwAAAAA="
