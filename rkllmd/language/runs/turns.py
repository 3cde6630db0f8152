"""A turn of a session (the member "session" beside "method"): what is needed for the model to know the conversation.

While the KV cache holds the session, its next turn needs only the question. If somebody else has used the model
meanwhile, it is given the conversation anew, as one prompt. If the runtime is known to continue from a prompt cache,
one is saved then, so that most of the conversation need not be read again the next time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from rkllmd.abi.c import pointer
from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMInputType
from rkllmd.abi.layouts.rkllm_common import RKLLMPromptCacheParam
from rkllmd.errors import InvalidParams, RpcError
from rkllmd.json_types import JsonObject
from rkllmd.language import placeholders
from rkllmd.language.model import Model
from rkllmd.language.prompt_caches.store import PromptCache, Saving
from rkllmd.language.runs.made_with import of_model as made_with_now
from rkllmd.language.runs.markers import of_model as markers_of
from rkllmd.language.sessions.sessions import Session, Turn
from rkllmd.portable.extension import Span

if TYPE_CHECKING:
    from rkllmd.language.generation import Generation
    from rkllmd.language.parts import Language
    from rkllmd.language.runs.run import Run

log = structlog.get_logger()

_CACHE_OWNERS: Final = "session-"
_TOOL_TAG: Final = "tool_response"


def check(run: Run) -> None:
    """Refuse what can't be a turn of a session. Raises InvalidParams."""
    members = run.invocation.call.members
    members.check("session")
    if members.session is None:
        return
    is_text = run.model.n_batch == 1 and run.only_input.input_type == RKLLMInputType.RKLLM_INPUT_PROMPT
    if not is_text or run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "A session is made of prompts and generated answers: prompt_input, mode RKLLM_INFER_GENERATE, n_batch 1.",
            member="session",
            keyword="const",
        )


@dataclass(eq=False)
class SessionTurn:
    """One turn in progress: the session, the question, and what was done so that the model knows what came before."""

    session: Session
    question: str
    thinking: bool
    # Whether control markers in the question count as such.
    special: bool = False
    replayed_turns: int = 0
    prompt_bytes: int = 0
    # Where in the prompt, in bytes, control markers count as such: between the turns.
    markers: tuple[Span, ...] = ()
    loaded: PromptCache | None = None
    saving: Saving | None = None
    # Whether a cache may be used at all: not after a run has failed with one.
    may_use_caches: bool = True
    # What C may read during the run.
    keep: list[object] = field(default_factory=list)


def begin(run: Run) -> SessionTurn | None:
    """Return a run's turn of its session, or None for a run without a session; on the worker thread."""
    name = run.invocation.call.members.session
    if name is None:
        return None
    config, model = run.language.config, run.model
    session = run.language.sessions.open(
        run.invocation.client.user, name, model.path, config.max_sessions_per_user, config.session_hours * 3600
    )
    asked = run.only_input
    question = (asked.prompt_input or b"").decode("utf-8", "replace")
    if asked.role == b"tool":
        question = _tool_response(model, question)
    run.parameters.keep_history = 1
    return SessionTurn(session, question, bool(asked.enable_thinking), bool(run.special))


def _tool_response(model: Model, result: str) -> str:
    """Return a function's result as the runtime puts it into the conversation: between tags."""
    strings = model.strings.get("rkllm_set_function_tools", [b"", b"", b""])
    tag = strings[2].decode("utf-8", "replace").strip("<>") or _TOOL_TAG
    return f"<{tag}>\n{result}\n</{tag}>"


def write_anew(run: Run, turn: SessionTurn) -> None:
    """Make the run's prompt the whole conversation, for a KV cache that holds nothing of it. Raises RpcError."""
    session, model = turn.session, run.model
    turn.replayed_turns = len(session.turns)
    if session.turns:
        markers = markers_of(model, run.language.runtime.name)
        # At most half of the context is left to the answer.
        tokens = model.max_context_len - min(max(model.max_new_tokens, 0), model.max_context_len // 2)
        whole = session.as_prompt(turn.question, markers, tokens)
        parts = [(placeholders.as_plain_words(text, model.library.layout), is_marker) for text, is_marker in whole]
        prompt = "".join(text for text, _ in parts).encode()
        turn.markers = _places_of_markers(parts)
        turn.prompt_bytes = len(prompt)
        asked = run.only_input
        asked.prompt_input = prompt
        if asked.role == b"tool":
            asked.role = b"user"
        turn.keep.append(prompt)
    parameters = run.parameters
    # What the model computes with an adapter can't be used without that adapter.
    if (
        turn.may_use_caches
        and _uses_caches(run.language)
        and not parameters.prompt_cache_params
        and not parameters.lora_params
    ):
        _load(run, turn)
        _begin_saving(run, turn)


def _places_of_markers(parts: list[tuple[str, bool]]) -> tuple[Span, ...]:
    places: list[Span] = []
    at = 0
    for text, is_marker in parts:
        end = at + len(text.encode())
        if is_marker and text:
            places.append((at, end))
        at = end
    return tuple(places)


def give_up_caches(run: Run, turn: SessionTurn) -> bool:
    """Take away the caches that the daemon itself has added; return whether there were any, so that a run may go anew.

    A full disk, or a file that C does not like, is no reason for a turn to fail. The next attempt begins with an empty
    KV cache: what the failed one has left in it is unknown.
    """
    if turn.saving is None and turn.loaded is None:
        return False
    turn.may_use_caches = False
    if turn.saving is not None:
        run.language.prompt_caches.discard(turn.saving)
        run.parameters.prompt_cache_params = None
        turn.saving = None
    _release(run, turn)
    turn.loaded = None
    run.model.kv_cache.keep_nothing()
    return True


def end(run: Run, turn: SessionTurn, *, succeeded: bool) -> None:
    """Keep or remove what was saved, and release what was loaded; on the worker thread, after the run."""
    language, model = run.language, run.model
    if turn.saving is not None and succeeded:
        made_with = made_with_now(language.runtime, model, None)
        language.prompt_caches.commit(turn.saving, made_with, [turn.loaded])
    elif turn.saving is not None:
        language.prompt_caches.discard(turn.saving)
    _release(run, turn)
    if not succeeded:  # what the KV cache holds is not what was said
        model.kv_cache.keep_nothing()


def _release(run: Run, turn: SessionTurn) -> None:
    if turn.loaded is not None and run.model.pointer:
        try:
            run.language.runtime.call("rkllm_release_prompt_cache", run.model.pointer)
        except RpcError as error:
            log.warning("session_cache_not_released", error=error.to_json())


def note(language: Language, turn: SessionTurn, generation: Generation) -> JsonObject:
    """Note what was said; return what the final result says about the session. On the event loop."""
    session = turn.session
    answer = generation.transcript.so_far()["text"]
    if turn.prompt_bytes and generation.perf is not None and turn.loaded is None:
        session.learn(turn.prompt_bytes, int(generation.perf.get("prefill_tokens", 0)))
    if generation.transcript.tokens:
        said = Turn(turn.question, answer, turn.thinking, turn.special)
        language.sessions.add(session, said, language.config.session_bytes)
    return {
        "session": {"name": session.name, "turns": len(session.turns), "replayed_turns": turn.replayed_turns},
    }


def _uses_caches(language: Language) -> bool:
    """Return whether prompt caches are used so that a session need not be read again.

    The vendor's runtime is not known to continue a conversation from one, and 1000 tokens take 100 MB on the disk.
    """
    setting = language.config.session_caches
    wanted = language.runtime.name == "portable" if setting == "auto" else setting == "always"
    return wanted and language.prompt_caches.why_not() is None


def _load(run: Run, turn: SessionTurn) -> None:
    """Load the session's prompt cache if there is one that fits; the run works without it too."""
    language, model = run.language, run.model
    caches = language.prompt_caches
    if not turn.session.turns or model.prompt_cache is not None:
        return
    try:
        cache = caches.open(
            owner_of(turn.session), turn.session.cache_name, made_with_now(language.runtime, model, None)
        )
        language.runtime.call("rkllm_load_prompt_cache", model.pointer, bytes(cache.path))
    except RpcError as error:
        log.debug("session_cache_not_loaded", session=turn.session.number, reason=error.message)
        return
    turn.loaded = cache
    caches.mark_used(cache)


def _begin_saving(run: Run, turn: SessionTurn) -> None:
    try:
        turn.saving = run.language.prompt_caches.begin(owner_of(turn.session), turn.session.cache_name, [])
    except RpcError as error:
        log.debug("session_cache_not_saved", session=turn.session.number, reason=error.message)
        return
    cache = RKLLMPromptCacheParam(1, bytes(turn.saving.path))
    turn.keep.append(cache)
    run.parameters.prompt_cache_params = pointer(cache)


def forget_caches_without_session(language: Language) -> None:
    """Remove the prompt caches of sessions that an earlier daemon had and this one has not; before any is loaded."""
    language.sessions.expire(language.config.session_hours * 3600)
    wanted = {(owner_of(session), session.cache_name) for session in language.sessions.all}
    language.prompt_caches.keep_only(_CACHE_OWNERS, wanted)


def owner_of(session: Session) -> str:
    """Return the owner of a session's prompt caches: not the user itself, so that they can't clash with its names."""
    return f"{_CACHE_OWNERS}{'daemon' if session.user is None else session.user}"
