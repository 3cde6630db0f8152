"""One call of C for the runs of a company, on the worker thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from rkllmd.calls.arguments import Converted
from rkllmd.errors import RpcError, RuntimeFailure
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.batches import telling
from rkllmd.language.batches.company import Company, Lane
from rkllmd.language.models import cross_attention
from rkllmd.language.models.loading import load_again, put_to_sleep
from rkllmd.language.runs import guiding, inference, run_options
from rkllmd.language.runs.rendering import plain_prompts, templates
from rkllmd.language.runs.run import Run
from rkllmd.language.runs.together import coalescing
from rkllmd.portable.extension import NextRun

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language

log = structlog.get_logger()


def lane_of(run: Run) -> Lane:
    """Return the lane for a run that shares a batch."""
    return Lane(run, inference.generation_of(run, n_batch=1))


def company_of(lanes: Sequence[Lane], on_end_of_lane: Callable[[Lane], None]) -> Company:
    """Return the company of these lanes of one model."""
    language, model = lanes[0].run.language, lanes[0].run.model
    extension = language.runtime.extension

    def cached(entry: int) -> int:
        return 0 if extension is None else max(0, extension.reused_tokens(model.pointer, entry))

    company = Company(
        lanes,
        may_mute=extension is not None,
        on_end_of_lane=on_end_of_lane,
        cached=cached,
        wake=language.run_soon,
        at_token=language.npu.at_token,
        on_end=language.npu.boundaries.wake,
    )
    for lane in lanes:
        lane.generation.on_progress = partial(company.look_at, lane)
    return company


def generate(run: Run) -> Callable[[], JsonObject]:
    """Run the model for one client, on the worker thread; return what makes the final result on the event loop.

    A run that was to share a batch has one to itself, if its model was not known before its turn, or for its seed.
    """
    if not coalescing.shares_batch(run):
        return inference.generate(run)
    lane, job = lane_of(run), run.invocation.job
    company = company_of([lane], lambda _: None)
    if job is not None:
        job.begin(lane.generation)
    try:
        run_company(company)
        if lane.refusal is not None:
            raise lane.refusal
    except RpcError:
        run.language.run_soon(partial(let_go, lane))
        raise
    return partial(final_of, company, lane)


def final_of(company: Company, lane: Lane) -> JsonObject:
    """Return the final result of a lane that was closed; on the event loop. Raises FormatNotMet."""
    return inference.final_of(lane.run, lane.generation, lane.turn, history_reset=company.history_reset)


def let_go(lane: Lane) -> None:
    """Send the last partials of a lane that has no result, and count what it has done; on the event loop."""
    inference.let_go(lane.run, lane.generation, lane.turn)


def run_company(company: Company) -> None:
    """Run the model; each lane that has not failed is closed when this returns. Raises RpcError for the rest.

    A lane whose own words are to blame is closed with the error as its refusal.
    """
    first = company.lanes[0].run
    language, model = first.language, first.model
    for file in model.watched_files:
        file.check(language.runtime.run_function(asynchronous=first.asynchronous))
    telling.begin(company)
    failure = _attempt(language, model, company, company.lanes)
    if isinstance(failure, RuntimeFailure) and model.is_in_doubt and not company.has_begun:
        log.warning("model_was_dead", handle=model.number, model_path=model.path, error=failure.to_json())
        put_to_sleep(language, model)
        load_again(language, model)
        company.begin_anew()
        failure = _attempt(language, model, company, company.lanes)
    if failure is not None and not company.has_begun and len(company.entries) > 1:
        log.warning("batch_refused", handle=model.number, model_path=model.path, error=failure.to_json())
        failure = _in_halves(language, model, company, company.entries, failure)
    if failure is not None:
        raise failure
    if not company.abort_requested:
        model.is_in_doubt = False
    for lane in company.lanes:
        company.close(lane)


def _in_halves(
    language: Language, model: Model, company: Company, lanes: Sequence[Lane], failure: RpcError
) -> RpcError | None:
    """Run them in smaller batches, since what one of them has given may have been refused.

    Each is closed when this returns. Returns the failure if all have failed.
    """
    middle, failures = len(lanes) // 2, list[RpcError | None]()
    for half in (lanes[:middle], lanes[middle:]):
        company.begin_anew()
        found = _attempt(language, model, company, half)
        if found is not None and not company.has_begun and len(half) > 1:
            found = _in_halves(language, model, company, half, found)
        for lane in half:
            if found is not None and lane.is_open:
                telling.refuse(company, lane, found)
            company.close(lane)
        failures.append(found)
    return failure if all(failures) else None


def _attempt(language: Language, model: Model, company: Company, lanes: Sequence[Lane]) -> RpcError | None:
    cross_attention.check(model)
    lanes = [lane for lane in lanes if lane.is_open]
    telling.place(language, model, lanes)
    telling.tell(language, company, lanes)
    entries = company.enter(lanes)
    if not entries:
        return None
    turn = entries[0].turn  # as that of all the others, or none has one
    try:
        _take_turn(language, model, company)
        if turn is not None:
            templates.tell_c(language, model, is_bare=turn.is_bare)
    except RuntimeFailure as error:
        return error
    language.runtime.remember_kv_cache_sizes(model)
    model.generation = company
    company.on_progress = partial(_abort_if_deserted, language, model, company)
    try:
        if company.is_deserted:
            return None
        run = _run_of(language, model, company, entries)
        with contextlib.nullcontext() if turn is not None else plain_prompts.wrapped(run, goes_on=False):
            failure: RpcError | None = inference.call_c(run, company)
        if failure is None:
            language.runtime.remember_kv_cache_sizes(model)
        else:
            model.kv_cache.forget_sequences()
        return None if company.abort_requested else failure
    except RpcError as error:  # a prompt that does not fit once its template is around it
        return error
    finally:
        with company.aborting:
            model.generation = None
        company.on_progress = None


def _abort_if_deserted(language: Language, model: Model, company: Company) -> None:
    if company.is_deserted and model.generation is company:
        inference.abort(language, model)


def _take_turn(language: Language, model: Model, company: Company) -> None:
    """Make sure that nobody's words leak into the batch, and that none of its words leak out of it."""
    if model.kv_cache.holds_words:
        conversations.clear(language, model)
        company.history_reset = True
    model.kv_cache.take_turn_of_several([lane.sequence for lane in company.entries if language.runtime.extension])


def _run_of(language: Language, model: Model, company: Company, entries: Sequence[Lane]) -> Run:
    """Return the one run that C is given: an array of inputs, with the parameters that all of them have."""
    first = entries[0].run
    inputs = [lane.run.only_input for lane in entries]
    # C takes n_batch inputs, always. What it makes of an empty one is not known of the vendor's runtime, so an entry
    # that nobody has is given the shortest of the prompts once more; the portable runtime is given fewer.
    extension = language.runtime.extension
    if extension is None:
        inputs += [min(inputs, key=_length)] * (model.n_batch - len(inputs))
    else:
        extension.next_run(model.pointer, NextRun())
        for lane in entries:
            options = replace(run_options.of(lane.run, lane.turn), reuse=lane.held is not None)
            extension.next_entry(model.pointer, lane.sequence, options)
            guiding.apply_in_company(lane.run)
    array = (type(inputs[0]) * len(inputs))(*inputs)
    parameters = type(first.parameters).from_buffer_copy(first.parameters)
    parameters.keep_history = 0
    if hasattr(parameters, "max_new_tokens"):
        # 0 means what the model was loaded with, which is no less than any run's own if none of them says more.
        parameters.max_new_tokens = max(0, company.max_new_tokens)
    return replace(
        first,
        input=Converted(array, [lane.run.input.json for lane in entries], first.input.path, first.input.sources),
        infer_params=Converted(parameters, None, first.infer_params.path, first.infer_params.sources),
    )


def _length(rkllm_input: object) -> int:
    prompt = getattr(rkllm_input, "prompt_input", None)
    return len(prompt) if isinstance(prompt, bytes) else 0
