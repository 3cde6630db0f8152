"""What rkllm.run and rkllm.run_async share: one run of a model, from the check of the request to the final result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Final, Unpack

import structlog

from rkllmd.abi.c import byref
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams, NotSupported, RpcError, RuntimeFailure
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations, placeholders, prompt_length, runtime_reports
from rkllmd.language.caching import kept_conversations
from rkllmd.language.generation import Generation
from rkllmd.language.model import Model, kept_by_daemon
from rkllmd.language.models import cross_attention
from rkllmd.language.models.loading import load_again, put_to_sleep
from rkllmd.language.parts import Language
from rkllmd.language.runs import (
    answers,
    counting,
    guiding,
    prompt_cache_names,
    run_options,
)
from rkllmd.language.runs.rendering import plain_prompts
from rkllmd.language.runs.run import Run, RunArguments
from rkllmd.language.runs.turns import request, result, telling
from rkllmd.language.runs.turns.turn import ConversationTurn
from rkllmd.language.texts.transcript import Transcript
from rkllmd.machine.c_runtime import NO_WORDS, last_words
from rkllmd.machine.crash_journal import Asked
from rkllmd.npu.times import estimates
from rkllmd.quick_dataclass import dataclass

log = structlog.get_logger()


# Whether FINISH follows the callback that returned "pause" is not known without a board. With rkllm_run it does not
# matter, since the call returns. With rkllm_run_async nothing else shows the end, so FINISH is given this long to come.
_PAUSE_GRACE_SECONDS: Final = 0.25
# The last callback shows the end of rkllm_run_async. If a runtime left it out (after an abort, or when the run fails in
# the runtime's own thread), the worker would wait for ever: so rkllm_is_running is called when no token has come for
# this long. A token proves that it runs.
_ASK_SECONDS: Final = 0.25
# The runtime may report that it is idle a moment before its last callback.
_LAST_CALLBACK_SECONDS: Final = 1.0


def check(language: Language, invocation: Invocation, **asked: Unpack[RunArguments]) -> None:
    """Refuse at once a run that does not fit the loaded model. Raises InvalidParams, PermissionDenied, NotSupported."""
    run = Run.of(language, invocation, asked)
    model, rkllm_input = run.model, run.input
    run_options.check(run)
    guiding.check(run)
    invocation.call.members.check("stream")
    request.check(run)
    given = len(rkllm_input.json) if isinstance(rkllm_input.json, list) else model.n_batch
    if given != model.n_batch:
        raise InvalidParams(
            f"The model was loaded with n_batch {model.n_batch}: rkllm_input must be "
            + (f"one input, or an array of {model.n_batch}." if model.n_batch > 1 else "one input."),
            path=rkllm_input.path,
            keyword="minItems" if given < model.n_batch else "maxItems",
            limit=model.n_batch,
        )
    prompt_length.check(model, rkllm_input)
    placeholders.check_input(model, rkllm_input)
    prompt_cache_names.check_saving(run)
    answers.check(run)


def abort(language: Language, model: Model) -> None:
    """Ask the model's current run to stop; called on the event loop, at any time during the run."""
    generation = model.generation
    # After the last callback nothing runs, even if the C function has not returned yet.
    if generation is None or generation.ended.is_set() or model.is_asleep:
        return
    generation.abort_requested = generation.abort_requested or not generation.is_over
    if not generation.awaits_abort:
        generation.awaits_abort = True
        running = language.npu.queue.running
        ask = partial(Asked, "") if running is None else running.ask
        language.npu.beside.give("rkllm_abort", partial(_abort, language, model, generation, generation.ended, ask))


def _abort(language: Language, model: Model, generation: Generation, ended: Event, ask: Callable[[], Asked]) -> None:
    """Tell C to abort this run, which ``ask`` describes, unless it has ``ended``; on a thread of its own."""
    with language.runtime.journal.working(ask), generation.aborting:
        generation.awaits_abort = False
        if model.generation is generation and not ended.is_set():
            # With a runtime that lacks the function the run goes on to its end. What cancels the run (the end of a
            # connection, the shutdown) must not fail because of that.
            with contextlib.suppress(NotSupported):
                language.runtime.raw_call("rkllm_abort", model.pointer, on=model)


def generate(run: Run) -> Callable[[], JsonObject]:
    """Run the model, on the worker thread; return the function that makes the final result on the event loop."""
    for file in run.model.watched_files:
        file.check(run.language.runtime.run_function(asynchronous=run.asynchronous))
    guiding.begin(run)
    if run.messages is None and run.invocation.call.members.session is None:
        plain_prompts.check_length(run)
    saving = prompt_cache_names.begin_saving(run)
    turn = request.begin(run)
    prefilled = False
    try:
        ended = _of_a_live_model(run, turn)
        generation = ended.generation
        prefilled = ended.failure is None and (generation.transcript.tokens > 0 or not generation.abort_requested)
        extra = prompt_cache_names.keep(run, saving, prefilled=prefilled)
        if ended.failure is not None:
            # Raised here, so that the supervisor sees it; the last partial results go out before the error.
            run.language.run_soon(partial(let_go, run, generation, turn))
            raise guiding.explain(run) or ended.failure
        guiding.end(run, generation)
        tensors = generation.tensors(run.invocation.tensor)
        return partial(_final, run, ended, turn, extra | tensors)
    finally:
        if turn is not None:
            result.end(run, turn, succeeded=prefilled)
        prompt_cache_names.discard(run, saving)


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one run of the model has ended."""

    generation: Generation
    failure: RuntimeFailure | None
    history_reset: bool = False


def _of_a_live_model(run: Run, turn: ConversationTurn | None) -> _Ended:
    """Run the model; if a failed load beside it turns out to have killed it, load it again and run it once more."""
    model = run.model
    held_words = model.kv_cache.holds_words
    ended = _attempt(run, turn)
    if ended.failure is not None and model.is_in_doubt and not ended.generation.has_begun:
        log.warning("model_was_dead", handle=model.number, model_path=model.path, error=ended.failure.to_json())
        model.kv_cache.take_turn_back(held_words=held_words)
        put_to_sleep(run.language, model)
        load_again(run.language, model)  # the memory that it had is free
        again = _attempt(run, turn)
        ended = replace(again, history_reset=ended.history_reset or again.history_reset)
    if _may_do_without_caches(run, turn, ended):
        again = _attempt(run, turn)
        ended = replace(again, history_reset=ended.history_reset or again.history_reset)
    if ended.failure is None and not ended.generation.abort_requested:
        model.is_in_doubt = False
    return ended


def _may_do_without_caches(run: Run, turn: ConversationTurn | None, ended: _Ended) -> bool:
    """Return whether a turn that has failed before its first token may go anew: with the caches it had, it may not."""
    failure, generation = ended.failure, ended.generation
    if turn is None or failure is None or generation.has_begun or generation.abort_requested:
        return False
    if not result.give_up_caches(run, turn):
        return False
    log.warning("conversation_without_cache", session=turn.chat.session, error=failure.to_json())
    return True


def _attempt(run: Run, turn: ConversationTurn | None) -> _Ended:
    language, invocation, model = run.language, run.invocation, run.model
    cross_attention.check(model)
    generation = generation_of(run, 1 if run.is_alone_in_batch else model.n_batch)
    generation.has_others = run.is_alone_in_batch
    history_reset = False
    goes_on = turn is None and plain_prompts.goes_on(run)
    try:
        if turn is None:
            history_reset = _take_turn(run)
        else:
            telling.take(run, turn)
    except RuntimeFailure as error:
        return _Ended(generation, error)
    language.runtime.remember_kv_cache_sizes(model)
    sizes = [] if turn is None else model.kv_cache_sizes
    model.generation = generation
    if invocation.job is not None:
        invocation.job.begin(generation)
    generation.on_progress = partial(_abort_where_due, run, generation)
    try:
        if invocation.is_cancelled:  # since it left the queue
            generation.abort_requested = True
            return _Ended(generation, None)
        answers.read(run, turn, generation.transcript)
        run_options.apply(run, turn)
        guiding.apply(run)
        with plain_prompts.wrapped(run, goes_on=goes_on) if turn is None else contextlib.nullcontext():
            failure = guiding.call(run, generation, call_c)
        if failure is None:
            language.runtime.remember_kv_cache_sizes(model)
        model.kv_cache.end_turn(is_paused=generation.paused)
        if turn is not None and failure is None:
            result.ran(run, turn, generation, sizes)
        if generation.abort_requested or generation.is_over:
            failure = None  # runtimes differ in how an aborted run ends; what it has generated stays valid
        return _Ended(generation, failure, history_reset)
    finally:
        with generation.aborting:
            model.generation = None
        generation.on_progress = None  # the two refer to each other and to the model


def generation_of(run: Run, n_batch: int) -> Generation:
    """Return what takes the tokens of a run of ``n_batch`` inputs."""
    language, model, parameters = run.language, run.model, run.parameters
    client, call = run.invocation.client, run.invocation.call
    # A model that was loaded with is_async streams, since C's rkllm_run then returns before it calls back.
    streams = run.asynchronous or model.is_async
    shape = call.members.stream or ("partial" if streams else "final")
    send = send_now = None
    if shape != "final":
        send = partial(client.send_partials, call, as_notifications=shape == "notify")
        send_now = client.partial_sender(call, as_notifications=shape == "notify")
    return Generation(
        mode=parameters.mode,
        transcript=Transcript(
            n_batch,
            run.stop,
            guiding.judged(run),
            kept_by_daemon(run.infer_params) or 0,
            run_options.likelihoods(run, whole=send is None),
        ),
        max_new_tokens=model.most_tokens(run.infer_params),
        keeps_history=bool(parameters.keep_history),
        keeps_up=run.form is not None,
        can_free_buffer=language.runtime.library.layout.name != "1.2",
        wake=language.run_soon,
        send=send,
        send_now=send_now,
        at_token=language.npu.at_token,
        on_end=language.npu.boundaries.wake,
    )


def _abort_where_due(run: Run, generation: Generation) -> None:
    """Abort a run at a stop string, and again what was cancelled or has ended and still produces tokens.

    An abort before the runtime has begun has no effect.
    """
    is_due = run.invocation.is_cancelled or generation.transcript.is_stopped or generation.is_over
    if is_due and run.model.generation is generation:
        abort(run.language, run.model)


def call_c(run: Run, generation: Generation) -> RuntimeFailure | None:
    """Call the C function and wait for the run's end; return how it failed, if it did."""
    runtime, model = run.language.runtime, run.model
    function = runtime.run_function(asynchronous=run.asynchronous)
    waits = function == "rkllm_run_async" or model.is_async
    if waits:
        runtime.learn_idle(model)
    mark = runtime.output.mark()
    with runtime.journal.calling(function, model):  # also while it goes on in the runtime's own thread
        status = getattr(runtime.library, function)(model.pointer, run.inputs, byref(run.parameters), None)
        has_ended = status != 0 or not waits or _wait_for_end(run.language, model, generation)
    how = None
    if status != 0:
        how = f"returned {status}"
    elif not has_ended:
        how = "ended without its last callback"
    elif generation.failed:
        how = "reported RKLLM_RUN_ERROR"
    elif generation.lost is not None:
        how = "gave a result that could not be taken"
    known = generation.callback_error or generation.lost
    lines = runtime.output.since(mark)  # also after a success: otherwise the next call would get these lines
    if how is None:
        return None
    is_silent = not (lines or known or generation.has_begun)
    advice = runtime_reports.why_silent(runtime.library.version, model.max_context_len) if is_silent else ""
    return _failure(function, how, status, lines, known, advice)


def _wait_for_end(language: Language, model: Model, generation: Generation) -> bool:
    """Wait for the last callback; return false if the run has ended without one."""
    runtime, wait = language.runtime, language.npu.boundaries.wait
    runtime.learn_busy(model)
    last_at = generation.last_at
    while not wait(generation.ended, timeout=_ASK_SECONDS):
        if generation.last_at != last_at:
            last_at = generation.last_at
        elif runtime.is_idle_again(model) and not wait(generation.ended, timeout=_LAST_CALLBACK_SECONDS):
            return False
    if generation.paused:
        generation.finished.wait(timeout=_PAUSE_GRACE_SECONDS)
    return True


def _final(run: Run, ended: _Ended, turn: ConversationTurn | None, extra: JsonObject) -> JsonObject:
    """Send the last partials and return the final result; on the event loop, after the run."""
    language, invocation, model = run.language, run.invocation, run.model
    generation = ended.generation
    let_go(run, generation, turn)
    estimates.learn(language.npu.durations, model.path, generation)
    final = generation.final()
    if turn is not None:
        return {**final, **extra, **result.note(run, turn, generation)}
    job = invocation.job
    is_answered = invocation.call.finished or (job is not None and job.timeout is not None and not job.is_cut)
    # A loss is reported once, in a result that reaches its client.
    if not is_answered and conversations.take_news(language, model, invocation.client.number):
        extra["history_reset"] = True
    if ended.history_reset:
        extra["history_reset"] = True
    return {**final, **extra}


def final_of(run: Run, generation: Generation, turn: ConversationTurn | None, *, history_reset: bool) -> JsonObject:
    """Return the final result of a run that was a part of a batch; on the event loop. Raises FormatNotMet."""
    try:
        why = guiding.explain(run)
        if why is not None:
            raise why
        guiding.end(run, generation)
    except RpcError:
        let_go(run, generation, turn)
        raise
    return _final(run, _Ended(generation, None, history_reset), turn, {})


def let_go(run: Run, generation: Generation, turn: ConversationTurn | None = None) -> None:
    """Send the last partials of a run that has ended, and count what it has done; on the event loop."""
    generation.drain_rest()
    cached_tokens = None if turn is None else turn.cached_tokens
    counting.count(run.language.npu.metrics, run.model, generation, cached_tokens)


def _failure(function: str, how: str, status: int, log: list[str], known: str | None, advice: str) -> RuntimeFailure:
    """Return the error for a failed run; ``known``: the reason if the daemon knows it, ``advice``: what it may be."""
    said = last_words([known] if known else log, NO_WORDS)
    return RuntimeFailure(f"{function} {how}{said}{advice}", function=function, status=status, log=log)


def _take_turn(run: Run) -> bool:
    """Make sure that no other client's words leak into this turn; return whether some were cleared for it.

    The KV cache is cleared if it holds another client's conversation, or if this client wants to begin one while the
    cache still holds what another client's run has left.
    """
    client, kv_cache = run.invocation.client.number, run.model.kv_cache
    keep_history = bool(run.parameters.keep_history)
    kept_conversations.keep_held(run.language, run.model)
    clear = kv_cache.is_foreign_to(client, keep_history=keep_history)
    if clear:
        conversations.clear(run.language, run.model)
    kv_cache.take_turn(client, keep_history=keep_history)
    return clear
