"""What rkllm.run and rkllm.run_async share: one run of a model, from the request's check to its final result."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from rkllmd.abi.c import byref
from rkllmd.calls.invocation import Invocation
from rkllmd.errors import InvalidParams, NotSupported, RuntimeFailure
from rkllmd.language import conversations, placeholders, runtime_reports
from rkllmd.language.generation import Generation
from rkllmd.language.models.loading import load_again, put_to_sleep
from rkllmd.language.models.model import Model
from rkllmd.language.parts import Language
from rkllmd.language.runs import prompt_cache_names, run_options, turns
from rkllmd.language.runs.run_options import RunOptions
from rkllmd.language.runs.turns import SessionTurn
from rkllmd.npu import estimates

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted

log = structlog.get_logger()

STREAM_SHAPES: Final = ("partial", "final", "notify")

# Whether FINISH follows the callback that returned "pause" is not known without a board. With rkllm_run it does not
# matter, since the call returns; with rkllm_run_async nothing else tells the end, so it is given this long.
_PAUSE_GRACE_SECONDS: Final = 0.25
# The last callback tells the end of rkllm_run_async. Should a runtime leave it out (after an abort, or when the run
# fails in its own thread), the worker would wait for ever: rkllm_is_running is asked this often.
_ASK_SECONDS: Final = 0.25
# The runtime may call itself idle a moment before its last callback.
_LAST_CALLBACK_SECONDS: Final = 1.0


def check(
    language: Language,
    invocation: Invocation,
    model: Model,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
    seed: int | None = None,
    special: bool | None = None,
) -> None:
    """Refuse at once what does not fit the loaded model. Raises InvalidParams, PermissionDenied, NotSupported."""
    run_options.check(language, invocation, RunOptions(seed, special))
    shape = invocation.call.members.get("stream")
    if shape is not None and shape not in STREAM_SHAPES:
        raise InvalidParams(
            'The member "stream" is one of partial, final and notify.',
            member="stream",
            keyword="enum",
            limit=list(STREAM_SHAPES),
        )
    given = len(rkllm_input.json) if isinstance(rkllm_input.json, list) else 1
    if given != model.n_batch:
        raise InvalidParams(
            f"The model was loaded with n_batch {model.n_batch}: rkllm_input must be "
            + (f"an array of {model.n_batch} inputs." if model.n_batch > 1 else "one input."),
            path=rkllm_input.path,
            keyword="minItems" if given < model.n_batch else "maxItems",
            limit=model.n_batch,
        )
    placeholders.check_input(model, rkllm_input)
    prompt_cache_names.check_saving(language, invocation, rkllm_infer_params)
    turns.check(language, invocation, model, rkllm_input, rkllm_infer_params)


def abort(language: Language, model: Model) -> None:
    """Ask the model's current run to stop; called on the event loop, at any time during the run."""
    generation = model.generation
    # After the last callback nothing runs, though the function may not have returned yet.
    if generation is not None and not generation.ended.is_set() and not model.is_asleep:
        generation.abort_requested = True
        # A runtime without the function goes on to its end; whoever cancels (a client that is gone, the shutdown) must
        # not fail because of that.
        with contextlib.suppress(NotSupported):
            language.runtime.library.rkllm_abort(model.pointer)


def generate(
    language: Language,
    invocation: Invocation,
    model: Model,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
    options: RunOptions,
    *,
    asynchronous: bool,
) -> Callable[[], dict[str, Any]]:
    """Run the model, on the worker thread; return the function that makes the final result on the event loop."""
    for file in model.watched_files:
        file.check(language.runtime.run_function(asynchronous=asynchronous))
    saving = prompt_cache_names.begin_saving(language, invocation, rkllm_infer_params)
    turn = turns.begin(language, invocation, model, rkllm_input, rkllm_infer_params, special=bool(options.special))
    asked = (rkllm_input, rkllm_infer_params, options)
    attempt = partial(_attempt, language, invocation, model, turn, *asked, asynchronous=asynchronous)
    prefilled = False
    try:
        run = _of_a_live_model(language, model, attempt)
        prefilled = run.failure is None and (run.generation.transcript.tokens > 0 or not run.generation.abort_requested)
        extra = prompt_cache_names.keep(language, invocation, model, saving, rkllm_infer_params, prefilled=prefilled)
        if run.failure is not None:
            # Here, so that whoever judges the call knows; the last partial results go out before the error.
            language.run_soon(run.generation.drain_rest)
            raise run.failure
        tensors = run.generation.tensors(invocation.tensor)
        return partial(_final, language, invocation, model, run, turn, extra | tensors)
    finally:
        if turn is not None:
            turns.end(language, invocation, model, turn, succeeded=prefilled)
        prompt_cache_names.discard(language, invocation, saving)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of the model, as it ended."""

    generation: Generation
    failure: RuntimeFailure | None
    history_reset: bool = False


def _of_a_live_model(language: Language, model: Model, attempt: Callable[[], _Run]) -> _Run:
    """Run the model; if it may have died beside a load that failed, and has, load it again and run it once more."""
    held_words = model.kv_cache.holds_words
    run = attempt()
    if run.failure is not None and model.is_in_doubt and not run.generation.has_begun:
        log.warning("model_was_dead", handle=model.number, model_path=model.path, error=run.failure.to_json())
        model.kv_cache.is_kept = held_words
        put_to_sleep(language, model)
        load_again(language, model)  # where it was: there is memory for it
        again = attempt()
        run = replace(again, history_reset=run.history_reset or again.history_reset)
    if run.failure is None and not run.generation.abort_requested:
        model.is_in_doubt = False
    return run


def _attempt(
    language: Language,
    invocation: Invocation,
    model: Model,
    turn: SessionTurn | None,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
    options: RunOptions,
    *,
    asynchronous: bool,
) -> _Run:
    parameters = rkllm_infer_params.c
    # A model that was loaded with is_async streams, as C's rkllm_run calls back then after it has returned.
    streams = asynchronous or model.is_async
    generation = _generation(language, invocation, model, parameters, default_shape="partial" if streams else "final")
    try:
        if turn is not None:
            _take_turn_of_session(language, invocation, model, turn, rkllm_input, rkllm_infer_params)
            history_reset = False
        else:
            history_reset = _take_turn(language, invocation, model, keep_history=bool(parameters.keep_history))
    except RuntimeFailure as error:
        return _Run(generation, error)
    language.runtime.remember_kv_cache_sizes(model)
    model.generation = generation
    if invocation.job is not None:
        invocation.job.generation = generation
    generation.on_progress = partial(_abort_again, language, invocation, model, generation)
    try:
        if invocation.is_cancelled:  # between leaving the queue and here
            generation.abort_requested = True
            return _Run(generation, None)
        function = language.runtime.run_function(asynchronous=asynchronous)
        run_options.apply(language, invocation, model, options, () if turn is None else turn.markers)
        first = rkllm_input.c if isinstance(rkllm_input.json, list) else byref(rkllm_input.c)
        failure = _call(language, invocation, model, generation, function, first, byref(parameters))
        model.kv_cache.is_paused = generation.paused
        if generation.abort_requested:
            failure = None  # how an aborted run ends differs between runtimes; what it has generated stays valid
        return _Run(generation, failure, history_reset)
    finally:
        model.generation = None
        generation.on_progress = None  # they refer to each other, and to the model


def _generation(
    language: Language, invocation: Invocation, model: Model, parameters: Any, default_shape: str
) -> Generation:
    client, call = invocation.client, invocation.call
    shape = call.members.get("stream", default_shape)
    send = send_now = None
    if shape != "final":
        send = partial(client.send_partials, call, as_notifications=shape == "notify")
        send_now = client.partial_sender(call, as_notifications=shape == "notify")
    return Generation(
        mode=parameters.mode,
        n_batch=model.n_batch,
        max_new_tokens=model.most_tokens(parameters),
        keeps_history=bool(parameters.keep_history),
        can_free_buffer=language.runtime.library.layout.name != "1.2",
        wake=language.run_soon,
        send=send,
        send_now=send_now,
        at_token=language.npu.at_token,
        on_end=language.npu.between_tokens.wake,
    )


def _abort_again(language: Language, invocation: Invocation, model: Model, generation: Generation) -> None:
    """Abort a cancelled run from which tokens still come: an abort before the runtime had begun is lost."""
    if invocation.is_cancelled and model.generation is generation:
        abort(language, model)


def _call(
    language: Language,
    invocation: Invocation,
    model: Model,
    generation: Generation,
    function: str,
    rkllm_input: Any,
    infer_params: Any,
) -> RuntimeFailure | None:
    """Call the C function and wait for the run's end; return how it failed, if it did."""
    runtime = language.runtime
    waits = function == "rkllm_run_async" or model.is_async
    if waits:
        runtime.learn_idle(model)
    mark = runtime.output.mark()
    status = getattr(runtime.library, function)(model.pointer, rkllm_input, infer_params, None)
    how = None
    if status != 0:
        how = f"returned {status}"
    elif waits and not _wait_for_end(language, model, generation):
        how = "ended without its last callback"
    elif generation.failed:
        how = "reported RKLLM_RUN_ERROR"
    elif generation.lost is not None:
        how = "gave a result that could not be taken"
    known = generation.callback_error or generation.lost
    lines = runtime.output.since(mark)  # also after a success: a line read later would be held against the next call
    if how is None:
        return None
    is_silent = not (lines or known or generation.has_begun)
    advice = runtime_reports.why_silent(runtime.library.version, model.max_context_len) if is_silent else ""
    return _failure(function, how, status, lines, known, advice)


def _wait_for_end(language: Language, model: Model, generation: Generation) -> bool:
    """Wait for the last callback; false if the run is over without one."""
    runtime, wait = language.runtime, language.npu.between_tokens.wait
    runtime.learn_busy(model)
    while not wait(generation.ended, timeout=_ASK_SECONDS):
        if runtime.is_idle_again(model) and not wait(generation.ended, timeout=_LAST_CALLBACK_SECONDS):
            return False
    if generation.paused:
        generation.finished.wait(timeout=_PAUSE_GRACE_SECONDS)
    return True


def _final(
    language: Language, invocation: Invocation, model: Model, run: _Run, turn: SessionTurn | None, extra: dict[str, Any]
) -> dict[str, Any]:
    """Run on the event loop after the run: the last partials go out, then the final result."""
    generation = run.generation
    generation.drain_rest()
    estimates.learn(language.npu.durations, model.path, generation)
    final = generation.final()
    if turn is not None:
        return {**final, **extra, **turns.note(language, invocation, turn, generation)}
    is_answered = invocation.call.finished or (invocation.job is not None and invocation.job.timeout is not None)
    # What was lost is told once, by a result that gets to its client.
    if not is_answered and conversations.take_news(language, model, invocation.client.number):
        extra["history_reset"] = True
    if run.history_reset:
        extra["history_reset"] = True
    return {**final, **extra}


def _failure(function: str, how: str, status: int, log: list[str], known: str | None, advice: str) -> RuntimeFailure:
    """Return the error for a failed run; ``known`` is what the daemon knows about why, ``advice`` what it may be."""
    said = f": {known or log[-1]}" if known or log else "; the runtime said nothing about why."
    return RuntimeFailure(f"{function} {how}{said}{advice}", function=function, status=status, log=log)


def _take_turn(language: Language, invocation: Invocation, model: Model, *, keep_history: bool) -> bool:
    """Make sure that nobody's words leak into this turn; return whether another's were cleared for it.

    The KV cache is cleared when it holds another client's history, or when this client wants to build a history upon
    what another client's run has left.
    """
    client = invocation.client.number
    clear = model.kv_cache.is_foreign_to(client, keep_history=keep_history)
    if clear:
        _clear(language, invocation, model)
    model.kv_cache.begin_turn(client, keep_history=keep_history)
    return clear


def _clear(language: Language, invocation: Invocation, model: Model) -> None:
    """Take what others have said out of the KV cache."""
    language.runtime.call("rkllm_clear_kv_cache", model.pointer, 1, None, None)
    model.kv_cache.lose()


def _take_turn_of_session(
    language: Language,
    invocation: Invocation,
    model: Model,
    turn: SessionTurn,
    rkllm_input: Converted,
    rkllm_infer_params: Converted,
) -> None:
    """Make sure that the model knows the session's words and nobody else's."""
    is_there = model.kv_cache.owner is turn.session and model.kv_cache.is_kept
    if not is_there:
        if model.kv_cache.owner is not None:
            _clear(language, invocation, model)
        turns.tell_again(language, invocation, model, turn, rkllm_input, rkllm_infer_params)
    model.kv_cache.begin_turn(turn.session, keep_history=True)
