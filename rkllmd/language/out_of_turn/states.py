"""What the portable runtime's KV cache has held of conversations: in memory, and written to files aside.

A conversation that takes turns with others comes back from memory. Once it has been out of the KV cache for a while, a
thread writes it to a file, from which it comes back when memory has no room for it, and after a restart. So no run
waits for the disk, and those that take turns quickly never get there.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import field
from typing import Final, Literal

import structlog

from rkllmd.language.chats.kept import KeptChat
from rkllmd.language.out_of_turn import files
from rkllmd.language.prompt_caches.fingerprint import Fingerprint
from rkllmd.language.prompt_caches.store import PromptCache, PromptCaches
from rkllmd.quick_dataclass import dataclass

log = structlog.get_logger()

# Within this time a program that lets conversations take turns has come back, and a person has not.
_ASIDE_SECONDS: Final = 2.0


@dataclass(eq=False, slots=True)
class _State:
    kept: KeptChat
    made_with: Fingerprint
    data: bytearray
    taken_at: float = field(default_factory=time.monotonic)
    # Whether a file has it: "done" also if that has failed.
    file: Literal["to be written", "being written", "done"] = "to be written"
    is_dropped: bool = False


class States:
    """The states of conversations that are kept, by their names; for the worker thread, and a thread of its own."""

    def __init__(
        self,
        caches: PromptCaches,
        loaded: Callable[[], Collection[PromptCache | None]] = tuple,
        *,
        aside_seconds: float = _ASIDE_SECONDS,
    ) -> None:
        """Begin with none. ``loaded``: the caches that runtimes have loaded, which stay on the disk."""
        self.limit_bytes = 0
        self._caches = caches
        self._loaded = loaded
        self._aside_seconds = aside_seconds
        self._states: dict[str, _State] = {}  # the one that was used last at the end
        self._changed = threading.Condition()
        self._writer: threading.Thread | None = None

    @property
    def size_bytes(self) -> int:
        """Return how much memory they take."""
        with self._changed:
            return sum(len(state.data) for state in self._states.values())

    def has(self, kept: KeptChat) -> bool:
        """Return whether there is a state of the conversation, in memory or as a file."""
        return kept.name in self._states or self._caches.has(files.owner_of(kept.chat.user), kept.name)

    def put(self, kept: KeptChat, made_with: Fingerprint, data: bytearray) -> bool:
        """Keep a state; return whether that has succeeded. Those that were unused for longest make room for it."""
        state = _State(kept, made_with, data)
        if len(data) > self.limit_bytes:
            return self._write(state)
        with self._changed:
            self._states[kept.name] = state
            leaving = self._beyond_limit()
        for other in leaving:
            self._let_go(other)
        self._write_aside()
        return True

    def get(self, kept: KeptChat, made_with: Fingerprint) -> bytearray | None:
        """Return the state of a conversation if it is in memory and was made with the same."""
        with self._changed:
            state = self._states.get(kept.name)
            if state is None or state.made_with != made_with:
                return None
            self._states[kept.name] = self._states.pop(kept.name)
            return state.data

    def drop(self, kept: KeptChat) -> None:
        """Forget a state, and remove its file."""
        with self._changed:
            state = self._states.pop(kept.name, None)
            if state is not None:
                state.is_dropped = True
                if state.file != "done":  # who writes it removes it
                    return
        files.drop(self._caches, kept)

    def release(self) -> None:
        """Give the memory back; those that no file has are written first."""
        for state in list(self._states.values()):
            self._let_go(state)

    def _beyond_limit(self) -> list[_State]:
        """Return those that have to go; with the lock."""
        excess = sum(len(state.data) for state in self._states.values()) - self.limit_bytes
        leaving = []
        for state in self._states.values():
            if excess <= 0:
                break
            leaving.append(state)
            excess -= len(state.data)
        return leaving

    def _let_go(self, state: _State) -> None:
        with self._changed:
            self._changed.wait_for(lambda: state.file != "being written")
            is_written = state.file == "done"
            state.file = "done" if is_written else "being written"
        if not is_written:
            self._write(state)
        with self._changed:
            self._states.pop(state.kept.name, None)

    def _write_aside(self) -> None:
        """Have a thread write what is to be written, when the time has come."""
        with self._changed:
            if self._writer is not None:
                return
            writer = threading.Thread(target=self._write_all, name="conversations", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: it is written when it leaves the memory
                writer.start()
                self._writer = writer

    def _write_all(self) -> None:
        while (state := self._next()) is not None:
            try:
                self._write(state)
            except Exception as error:  # the next ones are still to be written
                log.error("conversation_not_kept", exc_info=error)

    def _next(self) -> _State | None:
        """Wait until a state is to be written, and return it; None: there is no more, and this thread ends."""
        with self._changed:
            while True:
                waiting = [state for state in self._states.values() if state.file == "to be written"]
                state = min(waiting, key=lambda state: state.taken_at, default=None)
                if state is None:
                    self._writer = None
                    return None
                seconds = state.taken_at + self._aside_seconds - time.monotonic()
                if seconds <= 0:
                    state.file = "being written"
                    return state
                self._changed.wait(seconds)

    def _write(self, state: _State) -> bool:
        """Write a file, without the lock: disks stop for seconds."""
        is_written = False
        try:
            is_written = files.write(self._caches, state.kept, state.made_with, state.data, self._loaded())
        finally:
            with self._changed:
                state.file = "done"
                self._changed.notify_all()
                is_dropped = state.is_dropped
        if is_dropped:
            files.drop(self._caches, state.kept)
        return is_written
