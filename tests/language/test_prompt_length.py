"""Prompts that do not fit: by their bytes alone if no context could hold them, by their tokens if those are known."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.errors import InvalidParams
from rkllmd.language.prompt_length import LONGEST_TOKEN_BYTES, check, check_tokens
from rkllmd.portable.extension import Counted

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
    data = {"path": "$.rkllm_input[1]", "keyword": "maxLength", "limit": LIMIT, "max_context_len": 64}
    assert refused.value.data == data


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


def counting(tokens: int) -> tuple[Any, list[bytes]]:
    """Return a runtime that counts this many tokens in each text, and the texts that it was given."""
    asked: list[bytes] = []

    def count(_pointer: object, text: bytes, _how: Counted) -> int:
        asked.append(text)
        return tokens

    extension = SimpleNamespace(count_tokens=count)
    output = SimpleNamespace(mark=lambda: 0, since=lambda mark: [])
    journal = SimpleNamespace(calling=lambda function, model: nullcontext())
    return SimpleNamespace(extension=extension, output=output, journal=journal), asked


def test_what_has_too_many_tokens_is_refused_and_says_how_many() -> None:
    model: Any = SimpleNamespace(max_context_len=64, pointer=None)
    fits, _ = counting(64)
    check_tokens(fits, model, b"x", Counted(), "$.messages")
    with pytest.raises(InvalidParams, match=r"has 65 tokens, .* 64 tokens \(max_context_len\)") as refused:
        check_tokens(counting(65)[0], model, b"x", Counted(), "$.messages")
    assert refused.value.data == {
        "path": "$.messages",
        "keyword": "maxLength",
        "limit": 64,
        "tokens": 65,
        "max_context_len": 64,
    }


def test_what_is_short_enough_in_bytes_is_not_counted() -> None:
    runtime, asked = counting(1)
    model: Any = SimpleNamespace(max_context_len=4096, pointer=None)
    check_tokens(runtime, model, b"x" * 3000, Counted(), "$")
    assert asked == []
    check_tokens(runtime, model, b"x" * 4000, Counted(), "$")
    assert len(asked) == 1


def test_a_text_with_no_template_around_it_may_be_longer_before_it_is_counted() -> None:
    runtime, asked = counting(1)
    model: Any = SimpleNamespace(max_context_len=512, pointer=None)
    check_tokens(runtime, model, b"x" * 504, Counted(bare=True), "$")
    assert asked == []
    check_tokens(runtime, model, b"x" * 505, Counted(bare=True), "$")
    assert len(asked) == 1, "a tokenizer may put something before it"
