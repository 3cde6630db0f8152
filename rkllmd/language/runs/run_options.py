"""Options of a run that C's RKLLM has no field for: seed, whether control markers in its text count, stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.calls.declaration import Value
from rkllmd.errors import InvalidParams
from rkllmd.language.runs import guiding
from rkllmd.language.runs.rendering import bare
from rkllmd.language.texts.likelihoods import Likelihoods
from rkllmd.portable.extension import ALL, NextRun, Span

if TYPE_CHECKING:
    from rkllmd.language.runs.run import Run
    from rkllmd.language.runs.turns.turn import ConversationTurn

# The next number means "any seed" to llama.cpp.
LARGEST_SEED: Final = 2**32 - 2
SEED: Final = Value(
    "seed",
    {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": LARGEST_SEED,
        "description": "what the choice of tokens begins with: the same seed gives the same answer",
    },
    required=False,
    in_c=False,
)
SPECIAL: Final = Value(
    "special",
    {
        "type": ["boolean", "null"],
        "description": "true: control markers in the text (<|im_end|>) become control tokens; false: they are text",
    },
    required=False,
    in_c=False,
)
_MOST_STOPS: Final = 8
_LONGEST_STOP: Final = 256
STOP: Final = Value(
    "stop",
    {
        "type": ["array", "null"],
        "items": {"type": "string", "minLength": 1, "maxLength": _LONGEST_STOP},
        "maxItems": _MOST_STOPS,
        "description": "strings at which the answer ends; they are not shown",
    },
    required=False,
    in_c=False,
)
BARE: Final = Value(
    "bare",
    {"type": ["boolean", "null"], "description": "true: no chat template stands around the prompt"},
    required=False,
    in_c=False,
)
SUFFIX: Final = Value(
    "suffix",
    {"type": ["string", "null"], "description": "the text behind the prompt: the answer stands between the two"},
    required=False,
    in_c=False,
)
FORMAT: Final = Value(
    "format",
    {
        "anyOf": [{"type": "object"}, {"enum": ["json", None]}],
        "description": '"json" for any JSON object, or a JSON Schema as an object',
    },
    required=False,
    in_c=False,
)
TOOL_CHOICE: Final = Value(
    "tool_choice",
    {
        "anyOf": [
            {"enum": ["auto", "none", "required", None]},
            {
                "type": "object",
                "properties": {
                    "type": {"enum": ["function"]},
                    "name": {"type": "string"},
                    "function": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
                },
                "anyOf": [{"required": ["name"]}, {"required": ["function"]}],
            },
        ],
        "description": '"auto", "none", "required" (a call of one of the tools), or one function: {"name": …}',
    },
    required=False,
    in_c=False,
)
_MOST_LOGPROBS: Final = 20
LOGPROBS: Final = Value(
    "logprobs",
    {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": _MOST_LOGPROBS,
        "description": "how likely each token was is told, with this many of the likeliest ones",
    },
    required=False,
    in_c=False,
)


def check(run: Run) -> None:
    """Refuse options that this runtime has no function for, or this run no use. Raises NotSupported, InvalidParams."""
    if run.stop and run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "stop: only generated text has an end (mode RKLLM_INFER_GENERATE).", path="$.stop", keyword="const"
        )
    bare.check(run)
    if run.logprobs is not None:
        _check_logprobs(run)
    runtime = run.language.runtime
    if runtime.extension is not None:
        return
    if run.seed is not None:
        raise runtime.not_supported("seed", needs="the portable runtime: RKLLM has no parameter for it")
    # True is what C does anyway; false can't be promised.
    if run.special is False:
        raise runtime.not_supported(
            "special: false", needs="the portable runtime: RKLLM's library decides what control markers mean"
        )


def _check_logprobs(run: Run) -> None:
    """Refuse to tell how likely tokens were where nobody knows it. Raises NotSupported, InvalidParams."""
    runtime = run.language.runtime
    if not run.has_one_input or run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "logprobs: only a single generated answer has them (one input, mode RKLLM_INFER_GENERATE).",
            path="$.logprobs",
            keyword="const",
        )
    if runtime.extension is None:
        raise runtime.not_supported(
            "logprobs", needs="the portable runtime: RKLLM's library does not show its logits while it generates"
        )
    if guiding.pauses(run):
        raise runtime.not_supported("logprobs with a format", needs='the setting format_by = "auto"')


def apply(run: Run, turn: ConversationTurn | None) -> None:
    """Give the runtime the options just before the run; ``turn``: of a conversation, if it is that."""
    run.enter(of(run, turn))
    extension = run.language.runtime.extension
    if run.logprobs is not None and extension is not None:
        extension.logprobs_next_run(run.model.pointer, run.logprobs)


def likelihoods(run: Run, *, whole: bool) -> Likelihoods | None:
    """Return what tells how likely the tokens of one attempt at a run were; None where that is not wanted.

    ``whole``: its answer comes whole, not token by token.
    """
    extension = run.language.runtime.extension
    if run.logprobs is None or extension is None:
        return None
    return Likelihoods(partial(extension.logprobs, run.model.pointer), run.stop, keeps=whole)


def of(run: Run, turn: ConversationTurn | None) -> NextRun:
    """Return the options of a run for the portable runtime; ``turn``: of a conversation, if it is that."""
    meant: Sequence[Span] = ALL if run.special else ()
    if turn is not None and turn.is_rewritten:
        meant = turn.told.text.spans
    elif run.suffix is not None:
        meant = bare.text_of(run, run.only_input.prompt_input or b"").spans
    return NextRun(
        run.seed,
        meant,
        bare=run.is_bare or (turn is not None and turn.is_bare),
        reuse=turn is not None and not turn.told.goes_on,
        show_special=run.messages is not None,  # among them are the marks by which models say what they mean
    )
