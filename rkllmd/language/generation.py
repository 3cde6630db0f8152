"""Result callbacks → partial results.

Three parts, in the order in which a token meets them:

1. ``Generation.on_result``: called by C, on the worker thread or the runtime's own. Copies what the callback shows and
   sends it at once, if tokens come slowly and nothing waits before it; otherwise appends it to a buffer and wakes the
   event loop if it is not awake. It never waits for a client and lets no exception out.
2. ``Transcript``: without I/O. Joins characters that were split over callbacks, numbers the partials, keeps the text.
3. ``Generation.drain``: on the event loop. Takes the buffer, gives the partials' bytes to the client.
"""

from __future__ import annotations

import codecs
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from rkllmd.abi.json.from_c import from_c
from rkllmd.abi.json.tensors import copy_tensor
from rkllmd.abi.layouts.rkllm import LLMCallState, RKLLMInferMode
from rkllmd.abi.thread_state import KeptThreadState

log = structlog.get_logger()

NORMAL: Final = int(LLMCallState.RKLLM_RUN_NORMAL)
WAITING: Final = int(LLMCallState.RKLLM_RUN_WAITING)
FINISH: Final = int(LLMCallState.RKLLM_RUN_FINISH)
ERROR: Final = int(LLMCallState.RKLLM_RUN_ERROR)
_LAST: Final = (FINISH, ERROR)
_GENERATE: Final = int(RKLLMInferMode.RKLLM_INFER_GENERATE)

# What a result callback returns (manual 1.3.0): go on, pause, free the output buffer (from 1.3.0 on).
_CONTINUE: Final = 0
_PAUSE: Final = 1
_FREE_BUFFER: Final = 2

# Tokens that are further apart than this are sent from the callback's thread: waking the event loop first costs a
# thread switch, twice the latency on two idle cores. Faster ones are left to the loop, which sends many in one piece.
_AT_ONCE_SECONDS: Final = 0.001

# The event loop empties the buffer in well under a millisecond; a runtime that gets this far ahead of it (only a
# simulator can) waits for the loop, never for a client.
_BUFFER_LIMIT: Final = 16_384

# The loop does this many at a stretch (well under 1 ms) before others get their turn.
_DRAIN_AT_ONCE: Final = 128

# One callback as copied: its state, and per batch entry the token's id and the bytes of its text (None for C's NULL).
Token = tuple[int, bytes | None]
Callback = tuple[int, list[Token]]


class TextJoiner:
    """Joins the bytes of one text into whole characters; what never completes becomes U+FFFD."""

    __slots__ = ("_decoder", "_held", "_is_whole", "parts")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._is_whole = True  # no bytes of a character are held, by the decoder either
        self.parts: list[str] = []

    def add(self, state: int, data: bytes | None) -> str:
        """Take the text of one callback and return the characters that are whole now."""
        if state == NORMAL and data and self._is_whole:
            try:
                text = data.decode()
            except UnicodeDecodeError:
                pass
            else:
                self.parts.append(text)
                return text
        text = self._join(state, data)
        self._is_whole = not self._held and not self._decoder.getstate()[0]
        if text:
            self.parts.append(text)
        return text

    def _join(self, state: int, data: bytes | None) -> str:
        if state == WAITING:
            # The runtime holds the bytes back itself; should it show them nevertheless, they are either repeated in
            # the next text or continued by it: its beginning tells which.
            self._held = self._with_held(data or b"")
            return ""
        if not data:
            return ""
        data = self._with_held(data)
        self._held = b""
        return self._decoder.decode(data)

    def _with_held(self, data: bytes) -> bytes:
        return data if data.startswith(self._held) else self._held + data

    def end(self) -> str:
        """Return the replacement of bytes that stayed incomplete."""
        text = self._decoder.decode(self._held, final=True)
        self._held = b""
        if text:
            self.parts.append(text)
        return text


class Transcript:
    """What a run has said so far, as partial results and as the final one."""

    def __init__(self, n_batch: int) -> None:
        self.n_batch = n_batch
        self.tokens = 0  # so far: the number of the next partial result
        self._joiners = [TextJoiner() for _ in range(n_batch)]

    def partial(self, state: int, entries: list[Token]) -> dict[str, Any]:
        """Return the partial result of one callback."""
        seq = self.tokens
        self.tokens += 1
        if self.n_batch == 1:
            token_id, data = entries[0]
            text = self._joiners[0].add(state, data)
            return {"text": text, "token_id": token_id, "_callback_state": state, "seq": seq}
        batch = [
            {"text": joiner.add(state, data), "token_id": token_id}
            for joiner, (token_id, data) in zip(self._joiners, entries, strict=True)
        ]
        return {"batch": batch, "_callback_state": state, "seq": seq}

    def so_far(self) -> dict[str, Any]:
        """Return the text up to now, of all that is whole; for any thread."""
        texts = ["".join(joiner.parts) for joiner in self._joiners]
        return {"text": texts[0]} if self.n_batch == 1 else {"batch": [{"text": text} for text in texts]}

    def final(self, *, whole: bool) -> dict[str, Any]:
        """Return the text members of the final result: the ``whole`` text, or what was still incomplete."""
        rests = [joiner.end() for joiner in self._joiners]
        texts = ["".join(joiner.parts) for joiner in self._joiners] if whole else rests
        if self.n_batch == 1:
            return {"text": texts[0], "token_id": 0, "_callback_state": FINISH}
        return {"batch": [{"text": text, "token_id": 0} for text in texts], "_callback_state": FINISH}


class Generation:
    """One run of a model, from its first callback to its final result."""

    def __init__(
        self,
        *,
        mode: int,
        n_batch: int,
        max_new_tokens: int,
        can_free_buffer: bool,
        keeps_history: bool = False,
        wake: Callable[[Callable[[], None]], None],
        send: Callable[[list[dict[str, Any]]], None] | None,
        send_now: Callable[[dict[str, Any]], bool] | None = None,
        at_token: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """Prepare a run.

        ``wake(drain)`` schedules ``drain`` on the event loop, from any thread; ``send`` takes partial results there,
        or is None where only the final result is wanted. ``send_now`` takes one from any thread, and is false if it
        could not be sent without waiting. ``at_token`` is called after each token, ``on_end`` after the last callback.
        """
        self.mode = mode
        self.max_new_tokens = max_new_tokens
        self.keeps_history = keeps_history
        self.transcript = Transcript(n_batch)
        self.abort_requested = False
        self.pause_requested = False
        self.paused = False
        self.failed = False
        # Why a result that the runtime gave could not be taken: the answer is not whole.
        self.lost: str | None = None
        # Why a tokenizer or embedding callback of this run has failed (language/models/callbacks.py).
        self.callback_error: str | None = None
        self.perf: dict[str, Any] | None = None
        self.started_at = time.monotonic()
        self.first_token_at: float | None = None
        self.ended = threading.Event()  # no token comes any more: finished, failed or paused
        self.finished = threading.Event()
        self.on_progress: Callable[[], None] | None = None
        self._n_batch = n_batch
        self._can_free_buffer = can_free_buffer
        self._wake = wake
        self._send = send
        self._send_now = send_now
        self._at_token = at_token
        self._on_end = on_end
        self.last_at = 0.0  # when the last token came, by the monotonic clock
        self._thread_state = KeptThreadState()
        # What the loop is to send, in order: callbacks, and partial results that could not be sent at once.
        self._buffer: deque[Callback | dict[str, Any]] = deque()
        self._is_draining = False
        self._has_space = threading.Event()
        self._tensors: list[tuple[str, dict[str, int], bytes]] = []

    @property
    def tokens(self) -> int:
        """Return how many tokens have come so far."""
        return self.transcript.tokens

    def so_far(self) -> dict[str, Any]:
        """Return the text that has come so far."""
        return self.transcript.so_far()

    @property
    def has_begun(self) -> bool:
        """Return whether something was called back that is not the end."""
        return self.first_token_at is not None

    # -- called by C -------------------------------------------------------------------------------------------------

    def on_result(self, results: Any, state: int) -> int:
        """Take one callback: ``results`` points to n_batch RKLLMResults. Returns what the runtime is to do next."""
        try:
            if state in _LAST:
                self._on_last(results, state)
                return _CONTINUE
            if not self._thread_state.is_kept:  # the first one, as a rule
                self._thread_state.keep()
                self.first_token_at = self.first_token_at or time.monotonic()
            if self.mode != _GENERATE:
                return self._keep_tensors(results)
            if self._n_batch == 1:  # as nearly always: a slow token pays for each step to its client
                result = results[0]  # a ValueError for NULL
                callback = (state, [(result.token_id, result.text)])
            else:
                callback = (state, [(result.token_id, result.text) for result in self._each(results)])
            if not self._deliver(callback):
                self._append(callback)
            if self.pause_requested:
                self.paused = True
                self._thread_state.release()
                self._end()
                return _PAUSE
            if self._at_token is not None:
                self._at_token()
        except BaseException as error:  # nothing may reach C, SystemExit included
            log.error("result_callback_failed", exc_info=error)
            # NULL where a token was due loses nothing. What else could not be taken is missing in the answer.
            if results and state not in _LAST:
                self.lost = f"{type(error).__name__}: {error}"
        return _CONTINUE

    def _on_last(self, results: Any, state: int) -> None:
        self._thread_state.release()
        try:
            if state == ERROR:
                self.failed = True
            elif results:
                self.perf = from_c(results[0].perf)
        finally:  # whatever the figures are, somebody waits for the end
            if state == FINISH:
                self.finished.set()
            self._end()

    def _end(self) -> None:
        self.ended.set()
        if self._on_end is not None:
            self._on_end()

    def _each(self, results: Any) -> list[Any]:
        if self._n_batch == 1:
            return [results[0]]  # a ValueError for NULL
        if not results:  # ctypes would take a slice of NULL for an invitation to crash
            raise ValueError("the runtime called back with NULL for its results")
        found: list[Any] = results[: self._n_batch]
        return found

    def _deliver(self, callback: Callback) -> bool:
        """Do on this thread what the event loop would do, if it has nothing to do with this run at the moment."""
        now = time.monotonic()
        is_slow = now - self.last_at > _AT_ONCE_SECONDS
        self.last_at = now
        # The buffer first: what the loop has just taken out of it is sent before the loop stops draining.
        # An abort has to be repeated by the loop as long as tokens come.
        if self._buffer or self._is_draining or self.abort_requested:
            return False
        if self._send is None:
            self.transcript.partial(*callback)
            return True
        if self._send_now is None or not is_slow:
            return False
        result = self.transcript.partial(*callback)
        if not self._send_now(result):
            self._append(result)  # the tokens after it queue up behind it
        return True

    def _append(self, item: Callback | dict[str, Any]) -> None:
        buffer = self._buffer
        buffer.append(item)
        if not self._is_draining:
            self._is_draining = True
            self._wake(self.drain)
        elif len(buffer) > _BUFFER_LIMIT:
            self._has_space.clear()
            if len(buffer) > _BUFFER_LIMIT:
                self._has_space.wait(timeout=1.0)

    def _keep_tensors(self, results: Any) -> int:
        """Copy hidden states and logits out of C's memory; they become JSON after the run."""
        for result in self._each(results):
            hidden, logits = result.last_hidden_layer, result.logits
            self._keep_rows("last_hidden_layer", "embd_size", hidden.embd_size, hidden.num_tokens, hidden.hidden_states)
            self._keep_rows("logits", "vocab_size", logits.vocab_size, logits.num_tokens, logits.logits)
        return _FREE_BUFFER if self._can_free_buffer else _CONTINUE

    def _keep_rows(self, name: str, width_name: str, width: int, rows: int, pointer: Any) -> None:
        data = copy_tensor(pointer, rows * width)
        if data:
            self._tensors.append((name, {width_name: width, "num_tokens": rows}, data))

    # -- on the event loop -------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Turn what the callbacks left into partial results and give them to the client.

        Comes back until it finds nothing: at full speed tokens then gather while others have their turn, and go out
        together, and no callback pays for waking the loop.
        """
        try:
            # Cleared before the buffer is looked at: a callback from here on either is seen or wakes the loop again.
            self._is_draining = False
            if self._buffer:
                self._is_draining = True
                try:
                    self._drain(_DRAIN_AT_ONCE)
                finally:  # also after a failure: what is still there would wait for the end of the run
                    self._wake(self.drain)
        except Exception as error:  # trio ends the whole daemon for an exception in a scheduled function
            log.error("partial_results_failed", exc_info=error)

    def drain_rest(self) -> None:
        """Do all that ``drain`` would still do; for the end of the run, when no callback comes any more."""
        try:
            while self._buffer:
                self._drain(_BUFFER_LIMIT)
        except Exception as error:  # as above
            log.error("partial_results_failed", exc_info=error)

    def _drain(self, most: int) -> None:
        buffer = self._buffer
        partials: list[dict[str, Any]] = []
        while buffer and len(partials) < most:
            item = buffer.popleft()
            partials.append(item if isinstance(item, dict) else self.transcript.partial(*item))
        self._has_space.set()
        if self._send is not None:
            self._send(partials)
        on_progress = self.on_progress  # the worker thread takes it away at the end of the run
        if on_progress is not None:
            on_progress()

    def tensors(self, encode: Callable[[bytes, Sequence[int], str], dict[str, Any]]) -> dict[str, Any]:
        """Return hidden states and logits as JSON; slow for big ones, so it is called on the worker thread.

        ``encode(data, shape, dtype)`` returns a tensor as the client wants it.
        """
        members: dict[str, list[dict[str, Any]]] = {}
        for name, sizes, data in self._tensors:
            content = "hidden_states" if name == "last_hidden_layer" else name
            width = next(iter(sizes.values()))
            tensor = encode(data, (sizes["num_tokens"], width), "float32")
            members.setdefault(name, []).append({**sizes, content: tensor})
        return {name: found[0] if self._n_batch == 1 and len(found) == 1 else found for name, found in members.items()}

    def finish_reason(self) -> str:
        """Return why the run ended: ``stop``, ``length``, ``abort`` or ``pause``."""
        if self.paused:
            return "pause"
        if self.abort_requested:
            return "abort"
        limit_reached = 0 < self.max_new_tokens <= self.transcript.tokens
        return "length" if limit_reached else "stop"

    def final(self) -> dict[str, Any]:
        """Return the final result, without what the caller adds."""
        self.drain_rest()
        result = self.transcript.final(whole=self._send is None)
        if self._send is not None:
            result["seq"] = self.transcript.tokens
        result["finish_reason"] = self.finish_reason()
        if self.perf is not None:
            result["perf"] = self.perf
        return result
