"""A run of a conversation: of ``messages``, or a turn of a session (the member "session" beside "method").

Both are messages for the model, and what of them it has to read is decided in one place (``chats/reuse.py``). A session
is a conversation whose messages the daemon keeps, so that a client need not send them.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

import orjson

from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMInputType
from rkllmd.chat.templates.plain_words import without_markers
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations, prompt_length, token_counts
from rkllmd.language.caching import kept_conversations
from rkllmd.language.caching.saved_by_runs import SavedByRuns
from rkllmd.language.chats import messages as message_list
from rkllmd.language.chats.held import Chat, Held
from rkllmd.language.chats.messages import Message
from rkllmd.language.chats.reuse import Telling, Template, goes_on, plan
from rkllmd.language.chats.text import Text
from rkllmd.language.runs import guiding
from rkllmd.language.runs.rendering import media, templates
from rkllmd.language.sessions.sessions import Session, Turn
from rkllmd.portable.extension import Counted
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.language.generation import Generation
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.runs.run import Run


def check(run: Run) -> None:
    """Refuse what can't be a turn of a conversation. Raises InvalidParams."""
    members = run.invocation.call.members
    members.check("session")
    if run.messages is not None:
        _check_messages(run)
    elif run.tools is not None:
        raise InvalidParams(
            "tools go with messages; for a prompt, set them by rkllm.set_function_tools.",
            path="$.tools",
            keyword="dependentRequired",
        )
    if members.session is None:
        return
    is_text = run.has_one_input and run.only_input.input_type == RKLLMInputType.RKLLM_INPUT_PROMPT
    if run.messages is not None:
        raise InvalidParams(
            "messages bring their whole conversation along: leave out session.", member="session", keyword="const"
        )
    if not is_text or run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "A session is made of prompts and generated answers: prompt_input, mode RKLLM_INFER_GENERATE, one input.",
            member="session",
            keyword="const",
        )


def _check_messages(run: Run) -> None:
    if not run.has_one_input or run.parameters.mode != RKLLMInferMode.RKLLM_INFER_GENERATE:
        raise InvalidParams(
            "messages are answered one conversation at a time: mode RKLLM_INFER_GENERATE, no array of inputs.",
            path="$.messages",
            keyword="const",
        )
    said = message_list.read(run.messages or [], special=bool(run.special))
    prompt_length.check_size(run.model, sum(len(message.text.encode()) for message in said), "$.messages")
    media.check(run.model, said)


@dataclass(eq=False)
class ConversationTurn:
    """One turn in progress: what was said before, and what was done so that the model knows it."""

    chat: Chat
    messages: tuple[Message, ...]
    thinking: bool
    tools: str = ""
    session: Session | None = None
    template: Template | None = None
    telling: Telling | None = None
    basis: str = ""
    # Of the session, those before this one that the model was told anew.
    replayed_turns: int = 0
    # The sequence of the cache that it has in a batch with others.
    sequence: int | None = None
    cached_tokens: int | None = None
    # Of the whole conversation, where they were counted since the runtime does not say them.
    counted_tokens: int | None = None
    # Whether something was done to the KV cache for it.
    has_begun: bool = False
    caches: SavedByRuns | None = None
    lora: str | None = None
    # What C may read during the run.
    keep: list[object] = field(default_factory=list)

    # Whether the prompt is what the daemon has made of the messages, not what the client has written.
    is_rewritten: bool = False

    @property
    def has_media(self) -> bool:
        """Return whether there is more than text in the conversation."""
        return any(message.media for message in self.messages)

    @property
    def told(self) -> Telling:
        """Return what the model is told; only after ``take``."""
        assert self.telling is not None
        return self.telling

    @property
    def is_bare(self) -> bool:
        """Return whether no template may stand around what it is told."""
        return self.template is not None and self.template.is_bare


def begin(run: Run) -> ConversationTurn | None:
    """Return the run's turn of its conversation, None for a plain run; on the worker thread. Raises InvalidParams."""
    user, asked = run.invocation.client.user, run.only_input
    if run.messages is not None:
        turn = of_messages(run, run.messages)
        turn.caches = _caches(run, turn.chat)
        run.parameters.keep_history = int(not guiding.pauses(run))
        return turn
    name = run.invocation.call.members.session
    if name is None:
        return None
    config, model = run.language.config, run.model
    session = run.language.sessions.open(
        user, name, model.path, config.max_sessions_per_user, config.session_hours * 3600
    )
    text = (asked.prompt_input or b"").decode("utf-8", "replace")
    if asked.role == b"tool":
        tag = templates.tool_tag(model)
        text = f"<{tag}>\n{text}\n</{tag}>"
    run.parameters.keep_history = int(not guiding.pauses(run))
    # At most half of the context is left to the answer.
    tokens = model.max_context_len - min(max(model.max_new_tokens, 0), model.max_context_len // 2)
    said = tuple(
        message
        for turn in session.turns_that_fit(len(text.encode()), tokens)
        for message in (
            message_list.question(turn.question, special=turn.special),
            message_list.answer(turn.answer, thinking=turn.thinking),
        )
    )
    chat = Chat(user, session.number, name)
    return ConversationTurn(
        chat,
        (*said, message_list.question(text, special=bool(run.special))),
        bool(asked.enable_thinking),
        session=session,
        caches=_caches(run, chat),
        lora=_lora(run),
    )


def of_messages(run: Run, messages: list[JsonObject]) -> ConversationTurn:
    """Return the turn that a run of messages is. Raises InvalidParams."""
    said = message_list.read(messages, special=bool(run.special))
    tools = orjson.dumps(run.tools).decode() if run.tools else ""
    # An answer in a form has no place for thoughts.
    thinking = bool(run.only_input.enable_thinking) and run.form is None
    return ConversationTurn(Chat(run.invocation.client.user), said, thinking, tools, lora=_lora(run))


def take(run: Run, turn: ConversationTurn) -> None:
    """Make sure that the model knows what was said before, and nothing of others; give C the text. Raises RpcError."""
    language, model = run.language, run.model
    kv_cache, compares_tokens = model.kv_cache, language.runtime.extension is not None
    template = choose_template(run, turn)
    templates.tell_c(language, model, is_bare=template.is_bare)
    owner = kv_cache.owner
    is_own = isinstance(owner, Chat) and owner.user == turn.chat.user
    held = kv_cache.held if is_own and not guiding.pauses(run) else None
    is_same_session = turn.session is not None and owner == turn.chat
    earlier = _earlier(language, model, turn, held, is_same_session=is_same_session)
    turn.telling = plan(
        earlier or held,
        turn.basis,
        turn.messages,
        template,
        compares_tokens=earlier is not None or (compares_tokens and not turn.has_media),
        is_same_session=is_same_session,
    )
    if earlier is not None:  # it is not in the cache, at least not yet
        turn.telling = turn.telling.from_the_beginning()
    check_length(run, turn)
    turn.has_begun = True
    turn.replayed_turns = 0 if turn.telling.goes_on or turn.session is None else len(turn.session.turns)
    if not turn.telling.goes_on:
        _begin_anew(run, turn)
    give(run, turn)
    kv_cache.take_turn(turn.chat, keep_history=bool(run.parameters.keep_history))


def choose_template(run: Run, turn: ConversationTurn) -> Template:
    """Note by what the conversation is rendered, and what it depends on beside its messages. Raises RpcError."""
    turn.template = template = templates.of_conversation(
        run.language, run.model, run.tools or (), thinking=turn.thinking, is_session=turn.session is not None
    )
    turn.basis = orjson.dumps([turn.tools, template.source, turn.lora]).decode()
    return template


def check_length(run: Run, turn: ConversationTurn) -> None:
    """Refuse messages that do not fit into the context, going on or not. Raises InvalidParams, RuntimeFailure.

    A session leaves out its oldest turns; only the question alone may be too long there.
    """
    if turn.has_media or (turn.session is not None and turn.session.turns):
        return
    path = "$.messages" if turn.session is None else run.input.path
    prompt_length.check_tokens(run.language.runtime, run.model, turn.told.whole.encode(), _counted(turn), path)


def _counted(turn: ConversationTurn) -> Counted:
    return Counted(turn.told.whole.spans, bare=turn.is_bare, thinking=turn.thinking)


def _earlier(
    language: Language, model: Model, turn: ConversationTurn, held: Held | None, *, is_same_session: bool
) -> Held | None:
    """Return the kept conversation that this one goes on with, rather than with what the cache has; None: no such one.

    Told as it was generated, thoughts included, it is found in the cache again.
    """
    messages, basis = turn.messages, turn.basis
    if turn.has_media or (held is not None and goes_on(held, basis, messages, is_same_session=is_same_session)):
        return None
    digests = [message.digest for message in messages]
    has = held.common(digests)[0] if held is not None and held.basis == basis else 0
    return language.kept_chats.earlier(turn.chat.user, model.path, basis, digests, more_than=has)


def _begin_anew(run: Run, turn: ConversationTurn) -> None:
    """Prepare a conversation that is told from its beginning: of others nothing stays in the cache. Raises RpcError."""
    language, model = run.language, run.model
    whole = turn.told.whole
    kept_conversations.bring_back(language, model, turn.chat, turn.basis, str(whole))
    owner = model.kv_cache.owner
    is_own = isinstance(owner, Chat) and owner.user == turn.chat.user
    # What the cache holds of the same user's conversations is compared with this one, token by token.
    if owner is not None and not (is_own and language.runtime.extension is not None):
        conversations.clear(language, model)
    if turn.caches is not None:
        turn.caches.use(turn.basis, whole, turn.lora)


def _caches(run: Run, chat: Chat) -> SavedByRuns:
    return SavedByRuns(run.language, run.model, run.parameters, chat)


def _lora(run: Run) -> str | None:
    name = (run.infer_params.json.get("lora_params") or {}).get("lora_adapter_name")
    return None if name is None else str(name)


def give(run: Run, turn: ConversationTurn) -> None:
    """Make the text that the model is told the run's prompt. Raises InvalidParams, NotSupported."""
    asked, told = run.only_input, turn.told
    turn.is_rewritten = turn.is_bare or not (told.goes_on and asked.role == b"tool")
    if not turn.is_rewritten:
        return  # the runtime knows by itself how a function's result is put into the conversation
    layout = run.model.library.layout
    shown = turn.messages[told.known :]
    vision = run.model.vision
    tags = () if vision is None else tuple(tag for _, tag in vision.tags)
    text = media.in_place(told.text, shown, layout, is_bare=turn.is_bare, tags=tags)
    if run.language.runtime.extension is None and not turn.is_bare:  # C takes every marker for one
        text = Text(
            tuple((part if is_control else without_markers(part), is_control) for part, is_control in text.parts)
        )
    turn.telling = replace(told, text=text)
    prompt = text.encode()
    prompt_length.check_size(run.model, len(prompt), "$.messages")
    turn.keep.append(prompt)
    if any(message.media for message in shown):
        media.give(run, prompt, shown, turn.keep)
    else:
        asked.input_type, asked.prompt_input = int(RKLLMInputType.RKLLM_INPUT_PROMPT), prompt
    if asked.role == b"tool":
        asked.role = b"user"


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
            run.language.runtime, run.model, turn.told.whole.encode(), _counted(turn)
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
