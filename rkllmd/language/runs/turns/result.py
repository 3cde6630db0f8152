"""What has become of a turn: what was said, how much of it was read, and which caches are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.json_types import JsonObject
from rkllmd.language import token_counts
from rkllmd.language.chats import messages as message_list
from rkllmd.language.chats.held import Held
from rkllmd.language.chats.text import Text
from rkllmd.language.runs.turns.turn import ConversationTurn
from rkllmd.language.sessions.sessions import Session, Turn

if TYPE_CHECKING:
    from rkllmd.language.generation import Generation
    from rkllmd.language.parts import Language
    from rkllmd.language.runs.run import Run


def ran(run: Run, turn: ConversationTurn, generation: Generation, sizes: list[int]) -> None:
    """Note how many tokens needed not to be read; ``sizes``: of the KV cache before the run. On the worker thread."""
    if turn.told.goes_on:
        turn.cached_tokens = sizes[0] if sizes else None
    elif run.language.runtime.extension is not None:
        turn.cached_tokens = max(0, run.language.runtime.extension.reused_tokens(run.model.pointer))
    else:  # how much a loaded prompt cache has spared is not known
        turn.cached_tokens = None if turn.caches is not None and turn.caches.has_loaded else 0
    if not turn.has_media and (turn.cached_tokens is None or _read_tokens(generation) <= 0):
        turn.counted_tokens = token_counts.known(
            run.language.runtime, run.model, turn.told.whole.encode(), turn.counting
        )


def give_up_caches(run: Run, turn: ConversationTurn) -> bool:
    """Take away the caches that the daemon itself has added; return whether there were any, so that a run may go anew.

    A full disk, or a file that C does not like, is no reason for a turn to fail. The next attempt begins with an empty
    KV cache: what the failed one has left in it is unknown.
    """
    if turn.caches is None or not turn.caches.give_up():
        return False
    run.model.kv_cache.keep_nothing()
    return True


def end(run: Run, turn: ConversationTurn, *, succeeded: bool) -> None:
    """Keep or remove what was saved, and release what was loaded; on the worker thread, after the run."""
    if turn.caches is not None:
        turn.caches.end(succeeded=succeeded)
    if turn.has_begun and not succeeded:  # what the KV cache holds is not what was said
        run.model.kv_cache.keep_nothing()


def note(run: Run, turn: ConversationTurn, generation: Generation) -> JsonObject:
    """Note what was said; return what the final result says about the conversation. On the event loop."""
    telling, template, kv_cache = turn.telling, turn.template, run.model.kv_cache
    shown = generation.transcript.so_far()
    said = shown["text"]
    if telling is None or template is None:  # it was cancelled before the model was told anything
        return {}
    if generation.transcript.tokens and (turn.sequence is not None or kv_cache.owner == turn.chat):
        answer = message_list.answer(said, thinking=turn.thinking, calls=shown.get("tool_calls", ()))
        known = (*turn.messages, answer)
        is_exact = not (generation.abort_requested or generation.transcript.is_stopped)
        digests = tuple(message.digest for message in known)
        text = telling.whole + template.lead(thinking=turn.thinking) + Text.of([(_raw(generation), False)])
        ends = (*telling.ends, (len(digests), len(text.parts)))
        held = Held(turn.basis, digests, text, is_exact, turn.lora, ends=ends, has_media=turn.has_media)
        if turn.sequence is None:
            kv_cache.hold(held)
        else:
            kv_cache.hold_in(turn.sequence, turn.chat, held)
    counts = _counts(turn, generation)
    if turn.session is None:
        return {"template": template.source, **counts}
    return {**counts, **_note_session(run.language, turn, turn.session, generation, said)}


def _raw(generation: Generation) -> str:
    """Return the answer as the model wrote it, up to the stop string that ended it."""
    raw, stopped_by = generation.transcript.raw(), generation.transcript.stopped_by
    return raw if stopped_by is None or stopped_by not in raw else raw[: raw.rindex(stopped_by)]


def _counts(turn: ConversationTurn, generation: Generation) -> JsonObject:
    read, counted, cached = _read_tokens(generation), turn.counted_tokens, turn.cached_tokens
    if counted is not None:
        if cached is None and read > 0:
            cached = max(0, counted - read)
        return {"prompt_tokens": counted} | ({} if cached is None else {"cached_tokens": min(cached, counted)})
    return {} if cached is None or read <= 0 else {"prompt_tokens": cached + read, "cached_tokens": cached}


def _read_tokens(generation: Generation) -> int:
    """Return how many tokens the run has read of its prompt; 0 if the runtime does not say, or not of all parts."""
    if generation.perf is None or generation.has_gone_on:
        return 0
    return int(generation.perf.get("prefill_tokens", 0))


def _note_session(
    language: Language, turn: ConversationTurn, session: Session, generation: Generation, said: str
) -> JsonObject:
    telling = turn.telling
    if telling is not None and not telling.goes_on and turn.cached_tokens == 0 and generation.perf is not None:
        session.learn(len(telling.text.encode()), int(generation.perf.get("prefill_tokens", 0)))
    if generation.transcript.tokens:
        asked = turn.messages[-1]
        language.sessions.add(
            session, Turn(asked.text, said, turn.thinking, asked.special), language.config.session_bytes
        )
    return {"session": {"name": session.name, "turns": len(session.turns), "replayed_turns": turn.replayed_turns}}
