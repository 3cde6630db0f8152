"""Plain prompts of a model whose own template C has lost, since conversations were rendered by the daemon before.

C has then no template to put around a prompt, and can't be given its own back. The daemon has that one: it is what
conversations were rendered by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rkllmd.abi.layouts.rkllm_common import RKLLMInputType
from rkllmd.language import prompt_length
from rkllmd.language.runs.rendering import bare, templates
from rkllmd.portable.extension import ALL, Counted

if TYPE_CHECKING:
    from rkllmd.abi.c import Struct
    from rkllmd.chat.templates.model_template import ModelTemplate
    from rkllmd.language.runs.run import Run

# Stands for the answer that the cache holds.
_ANSWER: Final = "the answer 52c7e1a4 before"


def goes_on(run: Run) -> bool:
    """Return whether a run continues what the KV cache holds; asked before its turn begins."""
    kv_cache = run.model.kv_cache
    return bool(run.parameters.keep_history) and kv_cache.is_kept and kv_cache.owner == run.invocation.client.number


def check_length(run: Run) -> None:
    """Refuse a prompt that does not fit into the context, where its tokens can be counted; on the worker thread.

    Raises InvalidParams, RuntimeFailure.
    """
    path = run.input.path
    if not isinstance(run.input.json, list):
        _check_length(run, run.input.c, path)
        return
    for index, asked in enumerate(run.input.c):
        _check_length(run, asked, f"{path}[{index}]")


def _check_length(run: Run, asked: Struct, path: str) -> None:
    if asked.input_type != RKLLMInputType.RKLLM_INPUT_PROMPT:
        return
    runtime, prompt = run.language.runtime, asked.prompt_input or b""
    if run.is_bare:
        told = bare.text_of(run, prompt)
        prompt_length.check_tokens(runtime, run.model, told.encode(), Counted(told.spans, bare=True), path)
        return
    # What stands around the first prompt of a user is counted too.
    is_first = not run.parameters.keep_history and getattr(asked, "role", None) in (None, b"", b"user")
    how = Counted(
        ALL if run.special else (),
        part=runtime.extension is None or not is_first,
        thinking=bool(getattr(asked, "enable_thinking", False)),
    )
    prompt_length.check_tokens(runtime, run.model, prompt, how, path)


@contextmanager
def wrapped(run: Run, *, goes_on: bool) -> Iterator[None]:
    """Within it, the run's prompts have the template around them that C has lost, or C has again what was set.

    Those of a bare run have none. Raises RuntimeFailure, InvalidParams, NotSupported.
    """
    if run.is_bare:
        with bare.given(run):
            yield
        return
    templates.tell_c(run.language, run.model, is_bare=False)
    own = templates.own_of(run.language, run.model) if run.model.is_bare else None
    holders = [] if own is None else [holder for asked in _inputs(run) if (holder := _holder(asked)) is not None]
    given = [getattr(part, name) for _, part, name in holders]
    try:
        for (asked, part, name), text in zip(holders, given, strict=True):
            if own is not None:
                setattr(part, name, _wrapped(run, own, asked, text or b"", goes_on=goes_on))
        yield
    finally:  # a run is tried again if the model turns out to be dead
        for (_, part, name), text in zip(holders, given, strict=True):
            setattr(part, name, text)


def _inputs(run: Run) -> list[Struct]:
    return list(run.input.c) if isinstance(run.input.json, list) else [run.input.c]


def _holder(asked: Struct) -> tuple[Struct, Struct, str] | None:
    """Return the input, the struct that has its text, and the name of the field; None for tokens and embeddings."""
    if asked.input_type == RKLLMInputType.RKLLM_INPUT_PROMPT:
        return asked, asked, "prompt_input"
    if asked.input_type == RKLLMInputType.RKLLM_INPUT_MULTIMODAL:
        return asked, asked.multimodal_input, "prompt"
    return None


def _wrapped(run: Run, own: ModelTemplate, asked: Struct, text: bytes, *, goes_on: bool) -> bytes:
    role = (asked.role or b"user").decode("utf-8", "replace")
    before = [{"role": "user", "content": ""}, {"role": "assistant", "content": _ANSWER}] if goes_on else []
    rendered = own.render(
        [*before, {"role": role, "content": text.decode("utf-8", "replace")}],
        enable_thinking=bool(asked.enable_thinking),
        special=True,  # as C takes them
        placeholders=None,  # those that are there have their media
    )
    rest = rendered.after(_ANSWER) if goes_on else rendered
    prompt = (rendered if rest is None else rest).text.encode()
    prompt_length.check_size(run.model, len(prompt), "$.rkllm_input")
    return prompt
