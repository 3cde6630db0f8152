"""One run whose answer has a form (``format``): from the check of the request to the whole answer.

In the order of a run: ``check`` on the event loop, then on the worker thread ``begin`` before everything, ``apply``
just before each C call, and after it ``explain`` if it has failed, else ``end``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.layouts.rkllm import RKLLMInferMode
from rkllmd.errors import FormatNotMet, InvalidParams, RpcError
from rkllmd.language.guided.tokens import TokenGuide, tokenizer_of

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from rkllmd.language.generation import Generation
    from rkllmd.language.runs.run import Run
    from rkllmd.portable.extension import Extension


def check(run: Run) -> None:
    """Refuse a form for what is no single generated answer. Raises InvalidParams, NotSupported."""
    if run.form is None:
        return
    if run.model.n_batch != 1 or run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "format: only a single generated answer has one (mode RKLLM_INFER_GENERATE, n_batch 1).",
            path="$.format",
            keyword="const",
        )
    if run.language.runtime.extension is None:
        raise run.language.runtime.not_supported("format", needs="the portable runtime")


def begin(run: Run) -> None:
    """Read the form, before anything is changed for the run. Raises InvalidParams for what can't be guaranteed."""
    if run.form is not None:
        run.form.grammar()


def apply(run: Run) -> None:
    """Have the runtime ask which tokens may be next. Raises InvalidParams."""
    form, extension = run.form, run.language.runtime.extension
    if form is None or extension is None:
        return
    form.guide = TokenGuide(form.grammar(), _tokenizer(run, extension))
    form.keep_alive = extension.guide_next_run(run.model.pointer, form.guide)


def _tokenizer(run: Run, extension: Extension) -> LLTokenizer:
    model = run.model
    if model.token_texts is None or model.token_texts[0] != model.pointer.value:
        # The event loop stands still for as long as it takes: the keeper has to know that it is no hang.
        with run.language.runtime.journal.calling("rkllm_portable_vocabulary", model):
            model.token_texts = model.pointer.value, tokenizer_of(extension.vocabulary(model.pointer))
    return model.token_texts[1]


def explain(run: Run) -> RpcError | None:
    """Return why a run has failed, if it is because of its form."""
    guide = None if run.form is None else run.form.guide
    if guide is None or guide.error is None:
        return None
    return FormatNotMet(f"The answer can't be kept to this schema any further: {guide.error}.", finish_reason="error")


def end(run: Run, generation: Generation) -> None:
    """Make the answer whole, and have it checked once more. Raises FormatNotMet.

    An aborted one stays as it is: legal as far as it goes, and its finish_reason says so.
    """
    form, transcript = run.form, generation.transcript
    if form is None or (generation.abort_requested and not transcript.is_stopped):
        return

    def ending(text: str) -> str:
        rest = form.rest(text)
        if rest is None:
            raise FormatNotMet(
                "The answer could not be ended within its limit; allow it more tokens (max_new_tokens).",
                finish_reason=generation.finish_reason(),
            )
        generation.is_whole = not rest
        fault = form.fault(text + rest)
        if fault is not None:
            raise FormatNotMet(f"The answer does not fit the schema: {fault}.", finish_reason="error")
        return rest

    transcript.close(ending)
