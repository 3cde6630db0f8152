"""Result callbacks → partial results.

Three parts, in the order in which a token meets them:

1. ``Generation.on_result``: called by C, on the worker thread or on a thread of the runtime. It copies what the
   callback shows and sends it at once, if tokens come slowly and nothing waits before it; otherwise it appends the copy
   to a buffer and wakes the event loop if that is not awake. It never waits for a client and lets no exception out.
2. ``Transcript`` (texts/transcript.py): without I/O. It joins characters that were split over callbacks, ends the text
   at a stop string, numbers the partial results, and keeps the text.
3. ``Generation.drain``: on the event loop. It empties the buffer and gives the partial results to the client.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from rkllmd.abi.callbacks import Results
from rkllmd.abi.json.from_c import from_c
from rkllmd.abi.layouts.rkllm import LLMCallState, RKLLMInferMode, RKLLMResult
from rkllmd.abi.thread_state import KeptThreadState
from rkllmd.json_types import JsonObject
from rkllmd.language.texts.tensors import Encode, Tensors
from rkllmd.language.texts.transcript import FINISH, NORMAL, Callback, Transcript

log = structlog.get_logger()

ERROR: Final = int(LLMCallState.RKLLM_RUN_ERROR)
_LAST: Final = (FINISH, ERROR)
_GENERATE: Final = int(RKLLMInferMode.RKLLM_INFER_GENERATE)

# What a result callback returns (manual 1.3.0): continue, pause, or free the output buffer (from 1.3.0 on).
_CONTINUE: Final = 0
_PAUSE: Final = 1
_FREE_BUFFER: Final = 2

# Tokens that are further apart than this are sent from the callback's thread: waking the event loop first costs a
# thread switch, twice the latency on two idle cores. Faster ones are left to the loop, which sends many in one piece.
_AT_ONCE_SECONDS: Final = 0.001

# The event loop empties the buffer in well under a millisecond. A runtime that gets this many callbacks ahead of it
# (only a simulator can) waits for the loop, never for a client.
_BUFFER_LIMIT: Final = 16_384

# The loop handles this many in a row (well under 1 ms) before it does anything else.
_DRAIN_AT_ONCE: Final = 128


class Generation:
    """One run of a model, from its first callback to its final result."""

    # Whether others have a part in the same call of C.
    shares_batch = False
    # Whether C's batch has entries beside its own that are nobody's, and whether its own has ended while they go on.
    has_others = is_over = False
    _at_once_seconds = _AT_ONCE_SECONDS

    def __init__(
        self,
        *,
        mode: int,
        transcript: Transcript,
        max_new_tokens: int,
        can_free_buffer: bool,
        keeps_history: bool = False,
        keeps_up: bool = False,
        wake: Callable[[Callable[[], None]], None],
        send: Callable[[list[JsonObject]], None] | None,
        send_now: Callable[[JsonObject], bool] | None = None,
        at_token: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """Prepare a run; at a stop string of its ``transcript``, ``on_progress`` is called to abort it.

        ``wake(drain)`` schedules ``drain`` on the event loop, from any thread. ``send`` takes partial results there;
        it is None if only the final result is wanted. ``send_now`` takes one partial result on any thread and returns
        false if it could not be sent without waiting. ``at_token`` is called after each token, ``on_end`` after the
        last callback. ``keeps_up``: the transcript has each token as soon as it has come.
        """
        self.mode = mode
        self.max_new_tokens = max_new_tokens
        self.keeps_history = keeps_history
        self.transcript = transcript
        self.abort_requested = self.pause_requested = self.failed = False
        self.has_gone_on = False  # in another C call; perf is of those that ended by themselves
        self.needs_words = self.paused = False  # by us: the model needs other words than its own; or by anybody
        # Why a result of the runtime could not be taken, which leaves the answer incomplete.
        self.lost: str | None = None
        # Why a tokenizer or embedding callback of this run has failed (language/models/callbacks.py).
        self.callback_error: str | None = None
        self.is_whole = self.cut_off = False  # no limit has cut the answer off; another than that of tokens has
        self.perf: JsonObject | None = None
        self.started_at = time.monotonic()
        self.first_token_at: float | None = None
        self.ended = threading.Event()  # no token follows: finished, failed or paused
        self.finished = threading.Event()
        self.on_progress: Callable[[], None] | None = None
        # Held while C is told to abort this run: until then its handle is not used for anything else.
        self.aborting = threading.Lock()
        # Whether that was asked for and has not happened yet.
        self.awaits_abort = False
        self._n_batch = transcript.n_batch
        self._can_free_buffer = can_free_buffer
        self._keeps_up = keeps_up
        self._may_be_plain = transcript.may_be_plain and mode == _GENERATE and not keeps_up and send_now is not None
        self._wake = wake
        self._send = send
        self._send_now = send_now
        self._at_token = at_token
        self._on_end = on_end
        self.last_at = 0.0  # when the last token came, by the monotonic clock
        self._thread_state = KeptThreadState()
        # What the loop has to send, in order: callbacks, and partial results that could not be sent at once.
        self._buffer: deque[Callback | JsonObject] = deque()
        self._is_draining = False
        self._has_space = threading.Event()
        self._tensors = Tensors()

    def share_callbacks(self, lanes: int, wake: Callable[[Callable[[], None]], None]) -> None:
        """Be one of so many that have each callback and ``wake`` in common; before the first one."""
        self._wake = wake
        self._at_once_seconds = lanes * _AT_ONCE_SECONDS  # each that is sent at once keeps the others waiting

    @property
    def tokens(self) -> int:
        """Return how many tokens have come so far."""
        return self.transcript.tokens

    def so_far(self) -> JsonObject:
        """Return the text that has come so far."""
        return self.transcript.so_far()

    @property
    def has_begun(self) -> bool:
        """Return whether there was a callback other than the last one."""
        return self.first_token_at is not None

    # -- called by C -------------------------------------------------------------------------------------------------

    def on_result(self, results: Results, state: int) -> int:
        """Take one callback: ``results`` are n_batch RKLLMResults. Return what the runtime has to do next."""
        try:
            if state == NORMAL and self._may_be_plain and self._thread_state.is_kept and self._take_plain(results[0]):
                return _CONTINUE
            if state in _LAST:
                self._on_last(results, state)
                return _CONTINUE
            if not self._thread_state.is_kept:  # the first one, as a rule
                self._thread_state.keep()
                self.first_token_at = self.first_token_at or time.monotonic()
            if self.mode != _GENERATE:
                for result in self._each(results):
                    self._tensors.keep(result)
                return _FREE_BUFFER if self._can_free_buffer else _CONTINUE
            if self._n_batch == 1:  # as nearly always: a slow token pays for each step to its client
                result = results[0]  # raises for NULL
                if self.has_others and result.token_id < 0 and result.text is None:
                    self._be_over()
                    return _CONTINUE
                if self.transcript.likelihoods is not None:
                    self.transcript.likelihoods.take()
                self.take((state, [(result.token_id, result.text)]))
            else:
                self.take((state, [(result.token_id, result.text) for result in self._each(results)]))
            if (self.pause_requested or self.needs_words) and not self.transcript.is_stopped:
                self.paused = True
                self._thread_state.release()
                self._end()
                return _PAUSE
            if self._at_token is not None:
                self._at_token()
        except BaseException as error:  # nothing may reach C, SystemExit included
            log.error("result_callback_failed", exc_info=error)
            # NULL in place of a token loses nothing. Any other result that could not be taken is missing in the answer.
            if results and state not in _LAST:
                self.lost = f"{type(error).__name__}: {error}"
        return _CONTINUE

    def _take_plain(self, result: RKLLMResult) -> bool:
        """Do for a slow token that is only text all that ``on_result`` does, in few steps; return false if it is not.

        In the middle of a stream on an NPU each token is one: the processor's caches are cold, and each step costs.
        """
        now = time.monotonic()
        if now - self.last_at <= self._at_once_seconds or self._buffer or self._is_draining:
            return False
        send_now, at_token = self._send_now, self._at_token
        if self.abort_requested or self.pause_requested or send_now is None:
            return False
        partial = self.transcript.plain(result.token_id, result.text)
        if partial is None:
            return False
        self.last_at = now
        if not send_now(partial):
            self._append(partial)  # later tokens wait behind it
        if at_token is not None:
            at_token()
        return True

    def _be_over(self) -> None:
        """Have C told to stop, each time that it calls back for nobody; at the limit of tokens it does by itself."""
        self.is_over = True
        self._wake(self._tell_progress)

    def take(self, callback: Callback) -> None:
        """Take the copy of a callback: do with it what the event loop would do, or leave it to the loop."""
        now = time.monotonic()
        is_slow = now - self.last_at > self._at_once_seconds
        self.last_at = now
        if self._keeps_up:
            self._take_now(callback, is_slow=is_slow)
        # The buffer is looked at first: what the loop has just taken out of it is sent before the loop stops draining.
        # After an abort everything goes through the loop, which repeats the abort as long as tokens come.
        elif self._buffer or self._is_draining or self.abort_requested:
            self._append(callback)
        elif self._send is None:
            self._take(callback)
        elif self._send_now is None or not is_slow:
            self._append(callback)
        else:
            result = self._take(callback)
            if result is not None and not self._send_now(result):
                self._append(result)  # later tokens wait behind it

    def _on_last(self, results: Results, state: int) -> None:
        self._thread_state.release()
        try:
            if state == ERROR:
                self.failed = True
            elif results:
                self.perf = _added(self.perf, from_c(results[0].perf))
        finally:  # whatever is wrong with the figures, somebody waits for the end
            if state == FINISH:
                self.finished.set()
            self._end()

    def _end(self) -> None:
        self.ended.set()
        if self._on_end is not None:
            self._on_end()

    def _each(self, results: Results) -> list[RKLLMResult]:
        if self._n_batch == 1:
            return [results[0]]  # raises for NULL
        if not results:  # slicing a NULL pointer crashes the process
            raise ValueError("the runtime called back with NULL for its results")
        return list(results[: self._n_batch])

    def _take_now(self, callback: Callback, *, is_slow: bool) -> None:
        """Make the partial result on this thread; it is sent at once or waits behind others, as any."""
        result = self._take(callback)
        if self.abort_requested:
            self._wake(self._tell_progress)
        judged = self.transcript.legal
        self.needs_words = judged is not None and (judged.needs_words or self.is_at_limit)
        if result is not None:
            self._pass_on(result, is_slow=is_slow)

    def put(self, words: bytes) -> None:
        """Go on with words that are not the model's; on the worker thread, while it does not generate."""
        self._pass_on(self.transcript.put(words), is_slow=True)

    def go_on(self) -> None:
        """Begin another C call of the same run, after one that has paused."""
        self.needs_words, self.paused, self.has_gone_on = False, False, True
        self.ended.clear()
        self.finished.clear()

    def _pass_on(self, result: JsonObject, *, is_slow: bool) -> None:
        if self._send is None:
            return
        waits = self._buffer or self._is_draining or self.abort_requested or not is_slow
        if waits or self._send_now is None or not self._send_now(result):
            self._append(result)

    def _take(self, callback: Callback) -> JsonObject | None:
        """Return the partial result of a callback, or None for one that comes after a stop string."""
        transcript = self.transcript
        if transcript.is_stopped:
            return None
        result = transcript.partial(*callback)
        if transcript.is_stopped:
            self._wake(self._tell_progress)
        return result

    def _append(self, item: Callback | JsonObject) -> None:
        buffer = self._buffer
        buffer.append(item)
        if not self._is_draining:
            self._is_draining = True
            self._wake(self.drain)
        elif len(buffer) > _BUFFER_LIMIT:
            self._has_space.clear()
            if len(buffer) > _BUFFER_LIMIT:
                self._has_space.wait(timeout=1.0)

    # -- on the event loop -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Turn what the callbacks have left into partial results and give them to the client.

        It schedules itself again until it finds nothing. At full speed, tokens then gather while the loop does other
        work, go out together, and no callback pays for waking the loop.
        """
        try:
            # Cleared before the buffer is looked at: a callback that comes from now on is either seen here or wakes the
            # loop again.
            self._is_draining = False
            if self._buffer:
                self._is_draining = True
                try:
                    self._drain(_DRAIN_AT_ONCE)
                finally:  # also after a failure: otherwise the rest would wait for the end of the run
                    self._wake(self.drain)
        except Exception as error:  # trio ends the whole daemon for an exception in a scheduled function
            log.error("partial_results_failed", exc_info=error)

    def drain_rest(self) -> None:
        """Do everything that is left for ``drain``; for the end of the run, when no more callbacks come."""
        try:
            while self._buffer:
                self._drain(_BUFFER_LIMIT)
        except Exception as error:  # as above
            log.error("partial_results_failed", exc_info=error)

    def _drain(self, most: int) -> None:
        buffer = self._buffer
        partials: list[JsonObject] = []
        while buffer and len(partials) < most:
            item = buffer.popleft()
            result = item if isinstance(item, dict) else self._take(item)
            if result is not None:
                partials.append(result)
        self._has_space.set()
        if self._send is not None and partials:
            self._send(partials)
        self._tell_progress()

    def _tell_progress(self) -> None:
        on_progress = self.on_progress  # read once: the worker thread sets it to None at the end of the run
        if on_progress is not None:
            on_progress()

    def tensors(self, encode: Encode) -> JsonObject:
        """Return hidden states and logits as JSON; slow for large ones, so it is called on the worker thread."""
        return self._tensors.to_json(encode, n_batch=self._n_batch)

    def finish_reason(self) -> str:
        """Return why the run ended: ``stop``, ``tool_calls``, ``length``, ``abort`` or ``pause``."""
        if self.paused:
            return "pause"
        if self.transcript.is_stopped:
            return "stop"
        if self.transcript.is_cut and not self.is_whole:
            return "length"
        if self.abort_requested:
            return "abort"
        if not self.is_whole and (self.cut_off or self.is_at_limit):
            return "length"
        return "tool_calls" if self.transcript.calls_tools else "stop"

    @property
    def is_at_limit(self) -> bool:
        """Return whether the model has made as many tokens as it may."""
        return 0 < self.max_new_tokens <= self.transcript.rounds

    def final(self) -> JsonObject:
        """Return the final result, to which the caller adds what it knows."""
        self.drain_rest()
        result = self.transcript.final(whole=self._send is None)
        if self._send is not None:
            result["seq"] = self.transcript.tokens
        result["finish_reason"] = self.finish_reason()
        if self.perf is not None:
            result["perf"] = self.perf
        return result


def _added(before: JsonObject | None, perf: JsonObject) -> JsonObject:
    """Return the figures of several C calls of one run: times and tokens add up, memory is the most."""
    if before is None:
        return perf
    return {
        name: max(before[name], value) if name == "memory_usage_mb" else before[name] + value
        for name, value in perf.items()
    }
