"""Prompts that can't fit into the context are refused before they are tokenised.

A prompt of megabytes may take a runtime minutes to tokenise, llama.cpp longer than linearly if it is made of control
markers (the portable runtime does that itself, ``portable/rkllm/model/tokenizer.hpp``), and the vendor's can't be
interrupted. How many tokens a prompt has is known only afterwards; how few they can be is known before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.errors import InvalidParams

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.language.model import Model

# The longest tokens of the vocabularies that are in use stand for 128 spaces (cl100k, Llama 3, Qwen); twice that.
LONGEST_TOKEN_BYTES: Final = 256


def check(model: Model, rkllm_input: Converted) -> None:
    """Refuse a run whose text has more bytes than a whole context of the longest tokens. Raises InvalidParams."""
    many = isinstance(rkllm_input.json, list)
    for index in range(len(rkllm_input.json) if many else 1):
        made = rkllm_input.c[index] if many else rkllm_input.c
        text = b""
        if made.input_type == RKLLMInputType.RKLLM_INPUT_PROMPT:
            text = made.prompt_input or b""
        elif made.input_type == RKLLMInputType.RKLLM_INPUT_MULTIMODAL:
            text = made.multimodal_input.prompt or b""
        check_size(model, len(text), f"{rkllm_input.path}[{index}]" if many else rkllm_input.path)


def check_size(model: Model, size: int, path: str) -> None:
    """Refuse a text with more bytes than a whole context of the longest tokens has. Raises InvalidParams."""
    most = model.max_context_len * LONGEST_TOKEN_BYTES
    if 0 < most < size:
        raise InvalidParams(
            f"{path}: the prompt has {size} bytes, which can't fit into the model's context of "
            f"{model.max_context_len} tokens (max_context_len): shorten it to less than {most} bytes.",
            path=path,
            keyword="maxLength",
            limit=most,
        )
