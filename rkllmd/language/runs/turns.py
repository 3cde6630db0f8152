"""A turn of a session (the member "session" beside "method"): what it takes for the model to know the conversation.

While the KV cache holds the session, its next turn is just that. When somebody else has had the model meanwhile, it is
given the conversation anew, as one prompt; where the runtime is known to continue from a prompt cache, one is saved
then, so that the next time most of it need not be read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from rkllmd.abi.c import pointer
from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMInputType
from rkllmd.abi.layouts.rkllm_common import RKLLMPromptCacheParam
from rkllmd.errors import InvalidParams, RpcError
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

CACHE_OWNERS: Final = "session-"
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
    """One turn on its way: the session, what was asked, and what was done to let the model know the rest."""

    session: Session
    question: str
    thinking: bool
    # Whether control markers in the question are meant.
    special: bool = False
    replayed_turns: int = 0
    prompt_bytes: int = 0
    # Where in the prompt, in bytes, control markers are meant: in what stands between the turns.
    markers: tuple[Span, ...] = ()
    loaded: PromptCache | None = None
    saving: Saving | None = None
    # What C may read during the run.
    keep: list[Any] = field(default_factory=list)


def begin(run: Run) -> SessionTurn | None:
    """Return the turn that a run is, or None for a run without a session; on the worker thread."""
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
    """Return a function's result as the runtime puts it into the conversation: between its tags."""
    strings = model.strings.get("rkllm_set_function_tools", [b"", b"", b""])
    tag = strings[2].decode("utf-8", "replace").strip("<>") or _TOOL_TAG
    return f"<{tag}>\n{result}\n</{tag}>"


def write_anew(run: Run, turn: SessionTurn) -> None:
    """Make the run's prompt all of the conversation, for a KV cache that holds nothing of it. Raises RpcError."""
    session, model = turn.session, run.model
    turn.replayed_turns = len(session.turns)
    if session.turns:
        markers = markers_of(model, run.language.runtime.name)
        # Half of the context at most for the answer.
        tokens = model.max_context_len - min(max(model.max_new_tokens, 0), model.max_context_len // 2)
        layout = model.library.layout
        told = [(placeholders.spoil(text, layout), flag) for text, flag in session.told(turn.question, markers, tokens)]
        prompt = "".join(text for text, _ in told).encode()
        turn.markers = _places_of_markers(told)
        turn.prompt_bytes = len(prompt)
        asked = run.only_input
        asked.prompt_input = prompt
        if asked.role == b"tool":
            asked.role = b"user"
        turn.keep.append(prompt)
    parameters = run.parameters
    # What an adapter has computed is of no use without it.
    if _uses_caches(run.language) and not parameters.prompt_cache_params and not parameters.lora_params:
        _load(run, turn)
        _begin_saving(run, turn)


def _places_of_markers(told: list[tuple[str, bool]]) -> tuple[Span, ...]:
    places: list[Span] = []
    at = 0
    for text, is_marker in told:
        end = at + len(text.encode())
        if is_marker and text:
            places.append((at, end))
        at = end
    return tuple(places)


def end(run: Run, turn: SessionTurn, *, succeeded: bool) -> None:
    """Keep or remove what was saved, and release what was loaded; on the worker thread, after the run."""
    language, model = run.language, run.model
    if turn.saving is not None and succeeded:
        made_with = made_with_now(language.runtime, model, None)
        language.prompt_caches.commit(turn.saving, made_with, [turn.loaded])
    elif turn.saving is not None:
        language.prompt_caches.discard(turn.saving)
    if turn.loaded is not None and model.pointer:
        try:
            language.runtime.call("rkllm_release_prompt_cache", model.pointer)
        except RpcError as error:
            log.warning("session_cache_not_released", error=error.to_json())
    if not succeeded:  # what the KV cache holds is not what was said
        model.kv_cache.keep_nothing()


def note(language: Language, turn: SessionTurn, generation: Generation) -> dict[str, Any]:
    """Note what was said, on the event loop; return what the final result says about the session."""
    session = turn.session
    answer = generation.transcript.so_far()["text"]
    if generation.transcript.tokens:
        said = Turn(turn.question, answer, turn.thinking, turn.special)
        session.add(said, language.config.session_bytes, language.sessions.now())
    if turn.prompt_bytes and generation.perf is not None and turn.loaded is None:
        session.learn(turn.prompt_bytes, int(generation.perf.get("prefill_tokens", 0)))
    return {
        "session": {"name": session.name, "turns": len(session.turns), "replayed_turns": turn.replayed_turns},
    }


def _uses_caches(language: Language) -> bool:
    """Return whether prompt caches are to save a session from being read again.

    The vendor's are not known to continue a conversation, and one of 1000 tokens takes 100 MB on the disk.
    """
    setting = language.config.session_caches
    wanted = language.runtime.name == "portable" if setting == "auto" else setting == "always"
    return wanted and language.prompt_caches.why_not() is None


def _load(run: Run, turn: SessionTurn) -> None:
    """Load the session's prompt cache, if there is one that fits; the run does not depend on it."""
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


def owner_of(session: Session) -> str:
    """Return to whom a session's prompt caches belong: not to the user, whose own names they must not meet."""
    return f"{CACHE_OWNERS}{'daemon' if session.user is None else session.user}"
