"""What the model is told of a conversation: what the KV cache does not have yet, and nothing of others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from rkllmd.abi.layouts.rkllm import RKLLMInputType
from rkllmd.chat.templates.plain_words import without_markers
from rkllmd.language import conversations, prompt_length
from rkllmd.language.caching import kept_conversations
from rkllmd.language.chats.held import Held
from rkllmd.language.chats.messages import without_marks
from rkllmd.language.chats.reuse import Template, goes_on, plan
from rkllmd.language.chats.text import Text
from rkllmd.language.runs import guiding
from rkllmd.language.runs.rendering import media, templates
from rkllmd.language.runs.turns.turn import ConversationTurn

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language
    from rkllmd.language.runs.run import Run


def take(run: Run, turn: ConversationTurn) -> None:
    """Make sure that the model knows what was said before, and nothing of others; give C the text. Raises RpcError."""
    language, model = run.language, run.model
    kv_cache, compares_tokens = model.kv_cache, language.runtime.extension is not None
    template = choose_template(run, turn)
    templates.tell_c(language, model, is_bare=template.is_bare)
    held = kv_cache.held if kv_cache.is_of_user(turn.chat.user) and not guiding.pauses(run) else None
    is_same_session = turn.session is not None and kv_cache.owner == turn.chat
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

    A session leaves out its oldest turns; only the question alone may be too long there. Of pictures and other media,
    C alone knows how many tokens they take: without them, the text may be too long already.
    """
    if turn.session is not None and turn.session.turns:
        return
    path = "$.messages" if turn.session is None else run.input.path
    text = turn.told.whole.changed(without_marks) if turn.has_media else turn.told.whole
    how = replace(turn.counting, meant=text.spans)
    prompt_length.check_tokens(run.language.runtime, run.model, text.encode(), how, path)


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
    # What the cache holds of the same user's conversations is compared with this one, token by token.
    compares_tokens = language.runtime.extension is not None and model.kv_cache.is_of_user(turn.chat.user)
    if model.kv_cache.owner is not None and not compares_tokens:
        conversations.clear(language, model)
    if turn.caches is not None:
        turn.caches.use(turn.basis, whole, turn.lora)


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
