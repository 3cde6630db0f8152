"""Prompts that do not fit into the context are refused before C is asked for a run.

A prompt of megabytes may take a runtime minutes to tokenise, llama.cpp longer than linearly if it is made of control
markers (the portable runtime does that itself, ``portable/rkllm/model/tokenizer.hpp``), and the vendor's can't be
interrupted. So one that has too many bytes is refused when it comes. Where its tokens can be counted without the
runtime being asked for a run, one that has too many of them is refused when its turn comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.errors import InvalidParams, lead
from rkllmd.language import token_counts

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted
    from rkllmd.language.model import Model
    from rkllmd.language.runtime import Runtime
    from rkllmd.portable.extension import Counted

# The longest tokens of the vocabularies that are in use stand for 128 spaces (cl100k, Llama 3, Qwen); twice that.
LONGEST_TOKEN_BYTES: Final = 256
# What a template puts around a prompt may have so many tokens, and what a tokenizer puts before one that has none.
_AROUND: Final = 1024
_BEFORE: Final = 8


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
            f"{lead(path)}the prompt has {size} bytes, which can't fit into the model's context of "
            f"{model.max_context_len} tokens (max_context_len): shorten it to less than {most} bytes.",
            path=path,
            keyword="maxLength",
            limit=most,
            max_context_len=model.max_context_len,
        )


def check_tokens(runtime: Runtime, model: Model, text: bytes, how: Counted, path: str) -> None:
    """Refuse a prompt with more tokens than the context has, where they can be counted; on the worker thread.

    Raises InvalidParams, RuntimeFailure.
    """
    most = model.max_context_len
    # A token has at least one byte, so that most prompts need no counting.
    if not 0 < most < len(text) + (_BEFORE if how.bare else _AROUND):
        return
    tokens = token_counts.known(runtime, model, text, how)
    if tokens is not None and tokens > most:
        raise InvalidParams(
            f"{lead(path)}the prompt has {tokens} tokens, which do not fit into the model's context of {most} tokens "
            "(max_context_len): shorten it, or leave out the oldest messages.",
            path=path,
            keyword="maxLength",
            limit=most,
            tokens=tokens,
            max_context_len=most,
        )
