"""One run whose answer has a form (``format``): from the check of the request to the whole answer.

In the order of a run: ``check`` on the event loop, then on the worker thread ``begin`` before everything, ``apply``
just before each C call, and after it ``explain`` if it has failed, else ``end``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi.c import Struct, c_int, pointer
from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMInputType
from rkllmd.errors import FormatNotMet, InvalidParams, RpcError, RuntimeFailure
from rkllmd.language import conversations, placeholders
from rkllmd.language.guided.corrections import Correction, Corrections
from rkllmd.language.guided.judge import Judge
from rkllmd.language.guided.legal_text import LegalText
from rkllmd.language.guided.tokens import TokenGuide, Vocabularies
from rkllmd.portable.extension import NextRun

if TYPE_CHECKING:
    from rkllmd.abi.llguidance import Tokenizer
    from rkllmd.language.generation import Generation
    from rkllmd.language.runs.run import Run
    from rkllmd.portable.extension import Extension, Guide

log = structlog.get_logger()

_VOCABULARIES: Final = Vocabularies()
# How a run chooses that is to choose something else than it just did: top_k and top_p, and a temperature for each try.
_OTHER_CHOICES: Final = (40, 0.95)
_WARMER: Final = 0.9


def check(run: Run) -> None:
    """Refuse a form for what is no single generated answer. Raises InvalidParams, NotSupported."""
    if run.form is None:
        return
    if not run.has_one_input or run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "format: only a single generated answer has one (one input, mode RKLLM_INFER_GENERATE).",
            path="$.format",
            keyword="const",
        )
    if pauses(run) and run.messages is None and (run.parameters.keep_history or run.invocation.call.members.session):
        raise run.language.runtime.not_supported(
            "format with keep_history or a session", needs="messages: only a run without history can be paused"
        )


def pauses(run: Run) -> bool:
    """Return whether the form is kept by pausing the run at what is illegal: the runtime does not ask before."""
    return run.form is not None and (run.language.config.format_by != "auto" or run.language.runtime.extension is None)


def begin(run: Run) -> None:
    """Read the form, before anything is changed for the run. Raises InvalidParams for what can't be guaranteed."""
    if run.form is not None:
        run.form.grammar()


def judged(run: Run) -> LegalText | None:
    """Return what judges the text of one attempt at a run that is kept to its form by pauses; None for others."""
    if run.form is None or not pauses(run):
        return None
    legal = LegalText(Judge(run.form.grammar()))
    # Only from 1.3 on does a run have sampling parameters of its own.
    samples_anew = "RKLLMSamplingParam" in run.model.library.layout.structs
    run.form.corrections = Corrections(legal, samples_anew=samples_anew)
    return legal


def renew(run: Run) -> None:
    """Make what guides the runtime through the next call of C, where it asks. Raises InvalidParams."""
    form, extension = run.form, run.language.runtime.extension
    if form is not None and extension is not None and not pauses(run):
        form.guide = TokenGuide(form.grammar(), _tokenizer(run, extension), form.openings)


def apply(run: Run) -> None:
    """Have the runtime ask which tokens may be next. Raises InvalidParams."""
    renew(run)
    _give(run, lambda guide: guide)


def apply_in_company(run: Run) -> None:
    """Have the runtime ask which tokens may be next in one entry of a batch, by what was renewed for this call."""
    _give(run, _yielding)


def _give(run: Run, as_given: Callable[[TokenGuide], Guide]) -> None:
    form, extension = run.form, run.language.runtime.extension
    if form is not None and extension is not None and form.guide is not None:
        form.keep_alive = extension.guide_next_run(run.model.pointer, as_given(form.guide))


def _yielding(guide: TokenGuide) -> Guide:
    """Return a guide that allows nothing where it can say nothing: that ends its own entry, and not the whole batch."""

    def ask(last: int, likeliest: int, allowed: int, words: int) -> None:
        with contextlib.suppress(ValueError):
            guide(last, likeliest, allowed, words)

    return ask


def _tokenizer(run: Run, extension: Extension) -> Tokenizer:
    model = run.model
    with run.language.runtime.journal.calling("rkllm_portable_vocabulary", model):
        return _VOCABULARIES.of(model.file, lambda: extension.vocabulary(model.pointer))


def call(
    run: Run, generation: Generation, once: Callable[[Run, Generation], RuntimeFailure | None]
) -> RuntimeFailure | None:
    """Run the model by ``once``, and again after each pause with other words; return how it failed, if it did."""
    corrections = None if run.form is None else run.form.corrections
    if corrections is None:
        return once(run, generation)
    # The blocking function shows the end of a paused run by itself. C's structs are changed for the later calls.
    now = replace(run, asynchronous=False)
    failure = once(now, generation)
    while failure is None and generation.needs_words and not _is_over(run, generation):
        run.language.runtime.remember_kv_cache_sizes(run.model)
        sizes = run.model.kv_cache_sizes
        correction = corrections.next(sizes[0] if sizes else 0)
        if correction is None:
            generation.cut_off = not corrections.text.judge.may_end
            break
        _drop(run, correction.dropped)
        generation.put(correction.shown)
        corrections.text.go_on()
        if corrections.text.judge.is_complete or generation.transcript.is_stopped:
            break
        now = _again(run, generation, correction)
        generation.go_on()
        if _is_over(run, generation):  # an abort between two calls is not heard
            generation.needs_words = generation.paused = True
            break
        failure = once(now, generation)
    if generation.needs_words and generation.paused:
        generation.paused = False
        conversations.clear(run.language, run.model)
    if run.messages is not None:  # what the cache holds is not what was said
        run.model.kv_cache.keep_nothing()
    return failure


def _is_over(run: Run, generation: Generation) -> bool:
    """Return whether the run ends here whatever the model would have said."""
    if run.invocation.is_cancelled:
        generation.abort_requested = True
    transcript = generation.transcript
    complete = transcript.legal is not None and transcript.legal.judge.is_complete
    return generation.abort_requested or transcript.is_stopped or generation.is_at_limit or complete


def _drop(run: Run, tokens: int) -> None:
    """Take the last tokens out of the cache; a runtime that does not do it goes on with them, which costs quality."""
    language, model = run.language, run.model
    sizes = model.kv_cache_sizes
    # The portable runtime reads the token that it was paused at later, and forgets it where the range goes beyond.
    is_pending = language.runtime.extension is not None
    is_cached = not is_pending and language.config.format_by != "pauses_uncached"
    start = (sizes[0] if sizes else 0) - tokens + (not is_cached)
    end = start + tokens if is_cached or is_pending else start + tokens - 1
    if not sizes or not 0 <= start < end:
        return
    # Other entries of the batch are nobody's, and have the same in them; but one that has ended has fewer tokens.
    limits = [end, *(0 if is_pending else size for size in sizes[1:])]
    starts = (c_int * len(sizes))(*(min(start, limit) for limit in limits))
    ends = (c_int * len(sizes))(*(min(end, limit) for limit in limits))
    status, lines = language.runtime.invoke("rkllm_clear_kv_cache", model.pointer, 1, starts, ends, on=model)
    if status != 0:
        log.warning("illegal_tokens_not_dropped", handle=model.number, status=status, log=lines)


def _again(run: Run, generation: Generation, correction: Correction) -> Run:
    """Return the run that goes on with a correction's words."""
    words = correction.words.decode()
    text = placeholders.as_plain_words(words, run.model.library.layout).encode()
    given: Struct = type(run.only_input)()
    given.input_type = RKLLMInputType.RKLLM_INPUT_PROMPT
    if hasattr(given, "role"):
        given.role = b"user"
    given.prompt_input = text
    parameters = run.parameters
    parameters.prompt_cache_params = None
    keep: list[object] = [text]
    if hasattr(parameters, "max_new_tokens") and generation.max_new_tokens > 0:
        parameters.max_new_tokens = generation.max_new_tokens - generation.transcript.rounds
    if correction.tries and hasattr(parameters, "sampling_params"):
        sampling = type(run.model.sampling).from_buffer_copy(run.model.sampling)
        sampling.top_k, sampling.top_p = _OTHER_CHOICES
        sampling.temperature = _WARMER * correction.tries
        parameters.sampling_params = pointer(sampling)
        keep.append(sampling)
    run.enter(NextRun())
    return replace(run, asynchronous=False, input=replace(run.input, c=given, json={}, keep=keep))


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
    if form is None or generation.paused or (generation.abort_requested and not transcript.is_stopped):
        return
    if form.has_begun_call(transcript.raw()):
        if not transcript.calls_tools:
            raise FormatNotMet(
                "The answer ended within the call of a function: allow it more tokens (max_new_tokens).",
                finish_reason=generation.finish_reason(),
            )
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
