"""Which runs share a batch with those of other clients, of a model that was loaded with n_batch above 1. It decides."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Unpack

from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMInputType
from rkllmd.config import values
from rkllmd.language.chats import messages
from rkllmd.language.runs import guiding
from rkllmd.language.runs.run import Run, RunArguments

if TYPE_CHECKING:
    from rkllmd.calls.invocation import Invocation
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language

_TYPES = (RKLLMInputType.RKLLM_INPUT_PROMPT, RKLLMInputType.RKLLM_INPUT_TOKEN)


def is_on(language: Language, model: Model) -> bool:
    """Return whether runs of several clients may share this model's batches."""
    if model.n_batch == 1:
        return False
    if model.coalesce is not None:
        return model.coalesce
    return values.is_on(language.config.coalesce, automatically=language.runtime.name == "portable")


def shares_batch(run: Run) -> bool:
    """Return whether a run has one entry of a batch, and others may have the rest; otherwise it gives all inputs.

    What would leave something in the KV cache does not, since the entry may be another one the next time; messages
    bring their conversation along. A form that is kept by pauses does not either: a pause is one of the whole batch.
    """
    if not run.is_alone_in_batch or not is_on(run.language, run.model):
        return False
    parameters, members = run.parameters, run.invocation.call.members
    cache = parameters.prompt_cache_params
    if run.messages is None:
        fits = run.input.c.input_type in _TYPES and not parameters.keep_history
    else:
        fits = not messages.has_media(run.messages)
    return (
        fits
        and parameters.mode == RKLLMInferMode.RKLLM_INFER_GENERATE
        and not (cache and cache.contents.save_prompt_cache)
        and members.session is None
        and not guiding.pauses(run)
        and run.suffix is None
        and run.logprobs is None
    )


def together(language: Language, invocation: Invocation, **asked: Unpack[RunArguments]) -> tuple[Hashable, int] | None:
    """Return what has to be equal for runs to share a batch, and how many there may be; None: this one is alone.

    With a seed it is: how many are computed at once can change the last digit of a number, and so a token.
    """
    if not is_on(language, asked["model"]):
        return None
    run = Run.of(language, invocation, asked)
    if run.seed is not None or not shares_batch(run):
        return None
    lora = run.parameters.lora_params
    adapter = lora.contents.lora_adapter_name if lora else None
    # C's own template stands around prompts, and none around messages.
    kind = run.input.c.input_type if run.messages is None else "messages"
    return (run.model, kind, adapter or None, _sampling(run), run.is_bare), run.model.n_batch


def _sampling(run: Run) -> bytes:
    """Return the sampling parameters as C will have them; from layout 1.3 on a run may have its own."""
    given = getattr(run.parameters, "sampling_params", None)
    if given:
        return bytes(given.contents)
    return bytes(run.model.sampling) if hasattr(run.parameters, "sampling_params") else b""
