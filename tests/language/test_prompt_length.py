"""Prompts that no context could hold are refused by their bytes alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.errors import InvalidParams
from rkllmd.language.prompt_length import LONGEST_TOKEN_BYTES, check

LIMIT = 64 * LONGEST_TOKEN_BYTES


def given(*texts: bytes, kind: RKLLMInputType = RKLLMInputType.RKLLM_INPUT_PROMPT) -> Any:
    made = [
        SimpleNamespace(input_type=kind, prompt_input=text, multimodal_input=SimpleNamespace(prompt=text))
        for text in texts
    ]
    return SimpleNamespace(c=made, json=[{}] * len(made), path="$.rkllm_input")


MODEL: Any = SimpleNamespace(max_context_len=64)


@pytest.mark.parametrize("kind", [RKLLMInputType.RKLLM_INPUT_PROMPT, RKLLMInputType.RKLLM_INPUT_MULTIMODAL])
def test_what_can_not_fit_is_refused(kind: RKLLMInputType) -> None:
    check(MODEL, given(b"x" * LIMIT, kind=kind))
    with pytest.raises(InvalidParams, match=r"16385 bytes.* context of 64 tokens") as refused:
        check(MODEL, given(b"", b"x" * (LIMIT + 1), kind=kind))
    assert refused.value.data == {"path": "$.rkllm_input[1]", "keyword": "maxLength", "limit": LIMIT}


def test_a_single_input_is_no_array() -> None:
    one = given(b"x" * (LIMIT + 1))
    one.c, one.json = one.c[0], {}
    with pytest.raises(InvalidParams) as refused:
        check(MODEL, one)
    assert refused.value.data["path"] == "$.rkllm_input"


def test_where_the_length_of_the_context_is_not_known_nothing_is_refused() -> None:
    unknown: Any = SimpleNamespace(max_context_len=0)
    check(unknown, given(b"x" * 10**6))
    check(MODEL, given(b"x" * 10**6, kind=RKLLMInputType.RKLLM_INPUT_TOKEN))
