"""The runs that share one batch: what C calls back with is dealt out to them, each entry to its lane.

A lane is one client's run as if it were alone: its own Generation, partial results, stop strings, limit of tokens and
figures. It is closed when C has ended its entry, when it has come to its own end, or when its client has left it. From
then on its entry is mute: what C still makes of it is dropped. When all lanes are closed, C is told to abort.

C calls back on the worker thread or on a thread of the runtime; a lane is left on the event loop. Whoever closes it has
its lock. The loop never waits for that: if a callback has it, the callback closes the lane when it is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from rkllmd.abi.callbacks import Results
from rkllmd.abi.layouts.rkllm import RKLLMResult
from rkllmd.errors import RpcError
from rkllmd.json_types import JsonObject
from rkllmd.language.batches.wakes import SharedWake
from rkllmd.language.generation import ERROR, Generation
from rkllmd.language.runs.run import Run
from rkllmd.language.texts.transcript import FINISH, Transcript

if TYPE_CHECKING:
    from rkllmd.language.chats.held import Held
    from rkllmd.language.runs.turns.turn import ConversationTurn

log = structlog.get_logger()

_CONTINUE = 0
# What an entry that has ended has as its token.
_NO_TOKEN = -1


class Lane:
    """One run's part of the batch."""

    def __init__(self, run: Run, generation: Generation) -> None:
        """Begin open; ``generation`` takes its tokens."""
        self.run = run
        self.generation = generation
        self.is_open = True
        self.lock = threading.Lock()
        # Its client has left it, or it has come to a stop string; it is closed as soon as nobody holds its lock.
        self.is_left = False
        self.tokens = 0
        # As the runtime says; 0: it does not.
        self.prefill_tokens = 0
        # The turn of its conversation, if it is one.
        self.turn: ConversationTurn | None = None
        # In which sequence of the cache it is read, and what that has of a conversation of the same user.
        self.sequence = 0
        self.held: Held | None = None
        # Why it has no result, where it was closed before it began.
        self.refusal: RpcError | None = None
        generation.shares_batch = True

    @property
    def is_done(self) -> bool:
        """Return whether nothing more is wanted of it."""
        generation = self.generation
        at_limit = 0 < generation.max_new_tokens <= self.tokens
        return self.is_left or at_limit or generation.transcript.is_stopped

    def take(self, state: int, token_id: int, text: bytes | None) -> None:
        """Take one token."""
        generation = self.generation
        if generation.first_token_at is None:
            generation.first_token_at = time.monotonic()
        self.tokens += 1
        generation.take((state, [(token_id, text)]))

    def figures(self) -> JsonObject:
        """Return the figures of the run, as they were seen from here: C's are those of the whole batch."""
        generation = self.generation
        first_at = generation.first_token_at
        if first_at is None:
            return {}
        figures: JsonObject = {
            "prefill_time_ms": round((first_at - generation.started_at) * 1000, 3),
            "generate_time_ms": round(max(0.0, generation.last_at - first_at) * 1000, 3),
            "generate_tokens": self.tokens,
        }
        return {**figures, "prefill_tokens": self.prefill_tokens} if self.prefill_tokens > 0 else figures


class Company(Generation):
    """The generation of a whole batch: to C and to the worker it is one run."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        may_mute: bool,
        on_end_of_lane: Callable[[Lane], None],
        cached: Callable[[int], int] = lambda entry: 0,
        wake: Callable[[Callable[[], None]], None],
        at_token: Callable[[], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """``on_end_of_lane`` is called on the event loop, once for each lane that is closed.

        ``cached(entry)``: how many tokens of its prompt the cache had, asked when C calls back for the first time.
        ``may_mute``: the runtime ends an entry whose result a callback gives the token -1, as the portable one does.
        """
        most = [lane.generation.max_new_tokens for lane in lanes]
        self._shared_wake = SharedWake(wake)
        for lane in lanes:
            lane.generation.share_callbacks(len(lanes), self._shared_wake.soon)
        super().__init__(
            mode=lanes[0].generation.mode,
            transcript=Transcript(1),
            max_new_tokens=0 if min(most) <= 0 else max(most),
            can_free_buffer=False,
            wake=self._shared_wake.soon,
            send=None,
            at_token=at_token,
            on_end=on_end,
        )
        self.shares_batch = True
        self.lanes = tuple(lanes)
        # Those that are in C's batch, by their entries; the rest was left before.
        self.entries: tuple[Lane, ...] = ()
        # Called when it begins anew, as its time does.
        self.on_anew: Callable[[], None] | None = None
        # Whether words of others were cleared for it.
        self.history_reset = False
        self._may_mute = may_mute
        self._on_end_of_lane = on_end_of_lane
        self._cached = cached
        self._steps = 0

    @property
    def tokens(self) -> int:
        """Return how many tokens the longest of the runs has."""
        return self._steps

    def so_far(self) -> JsonObject:
        """Return nothing: each lane has its own text."""
        return {}

    @property
    def is_deserted(self) -> bool:
        """Return whether nobody waits for anything more of the batch."""
        return not any(lane.is_open for lane in self.entries or self.lanes)

    def enter(self, lanes: Sequence[Lane]) -> tuple[Lane, ...]:
        """Begin a call of C; return those of the lanes that have an entry in its batch: those that are open."""
        self.started_at = time.monotonic()
        self.entries = tuple(lane for lane in lanes if lane.is_open)
        for lane in self.entries:
            lane.generation.started_at = self.started_at
        return self.entries

    def begin_anew(self) -> None:
        """Prepare for another call of C, after one that has failed before its first token, or for others."""
        self.first_token_at, self.last_at = None, 0.0
        self.failed, self.lost, self._steps = False, None, 0
        self.abort_requested = False
        self.ended.set()  # who is about to tell C to abort that call sees it
        self.ended, self.finished = threading.Event(), threading.Event()
        if self.on_anew is not None:
            self.on_anew()

    # -- called by C -------------------------------------------------------------------------------------------------

    def on_result(self, results: Results, state: int) -> int:
        """Take one callback: ``results`` are those of its entries. Return 0: go on."""
        self._shared_wake.hold()
        try:
            if state in (FINISH, ERROR):
                self._on_last(results, state)
                return _CONTINUE
            if not self._thread_state.is_kept:
                self._thread_state.keep()
            self.last_at = time.monotonic()
            if self.first_token_at is None:
                self.first_token_at = self.last_at
                self._note_cached()
            self._steps += 1
            for entry, lane in enumerate(self.entries):
                if lane.is_open:
                    self._deal(lane, results[entry], state)  # raises for NULL
                if not lane.is_open and self._may_mute:
                    results[entry].token_id = _NO_TOKEN
            # At the limit of tokens C ends by itself.
            if self.is_deserted and self._steps != self.max_new_tokens:
                self._wake(self._tell_progress)
            if self._at_token is not None:
                self._at_token()
        except BaseException as error:  # nothing may reach C, SystemExit included
            log.error("result_callback_failed", exc_info=error)
            if results and state not in (FINISH, ERROR):
                self.lost = f"{type(error).__name__}: {error}"
        finally:
            self._shared_wake.let_go()
        return _CONTINUE

    def _note_cached(self) -> None:
        """Note for each conversation how much of it needed not to be read."""
        for entry, lane in enumerate(self.entries):
            if lane.turn is not None:
                lane.turn.cached_tokens = self._cached(entry)

    def _deal(self, lane: Lane, result: RKLLMResult, state: int) -> None:
        token_id, text = result.token_id, result.text
        with lane.lock:
            if lane.is_open and text is None and token_id < 0:
                self._close(lane)
            elif lane.is_open and not lane.is_left:
                lane.prefill_tokens = lane.prefill_tokens or result.perf.prefill_tokens
                lane.take(state, token_id, text)
        if lane.is_done:
            self.close(lane)

    def _on_last(self, results: Results, state: int) -> None:
        self._thread_state.release()
        try:
            self.failed = self.failed or state == ERROR
            for entry, lane in enumerate(self.entries if state == FINISH else ()):
                if results:
                    lane.prefill_tokens = lane.prefill_tokens or results[entry].perf.prefill_tokens
                self.close(lane)
        finally:  # whatever is wrong with the figures, somebody waits for the end
            if state == FINISH:
                self.finished.set()
            self._end()

    # -- on any thread -----------------------------------------------------------------------------------------------

    def close(self, lane: Lane) -> None:
        """Close a lane, if that was not done yet; nobody else may be about to give it a token."""
        with lane.lock:
            if lane.is_open:
                self._close(lane)

    def _close(self, lane: Lane) -> None:
        generation = lane.generation
        lane.is_open = False
        if self.abort_requested:  # all of them are to end
            generation.abort_requested = True
        generation.perf = lane.figures() or None
        generation.on_progress = None
        generation.finished.set()
        generation.ended.set()
        self._wake(lambda: self._on_end_of_lane(lane))

    # -- on the event loop -------------------------------------------------------------------------------------------

    def leave(self, lane: Lane, *, aborted: bool) -> None:
        """Let a lane have no more tokens from now on, and its result at once; ``aborted``: not at a stop string."""
        if aborted and lane.is_open:
            lane.generation.abort_requested = True
        lane.is_left = True
        # Set before the lock is looked at: a callback that has it looks at this when it lets go.
        if lane.lock.acquire(blocking=False):
            try:
                if lane.is_open:
                    self._close(lane)
            finally:
                lane.lock.release()
        if self.is_deserted:
            self._tell_progress()

    def look_at(self, lane: Lane) -> None:
        """Leave a lane whose text has come to a stop string."""
        if lane.generation.transcript.is_stopped and lane.is_open:
            self.leave(lane, aborted=False)
