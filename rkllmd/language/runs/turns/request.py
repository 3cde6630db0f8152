"""Which turn a run asks for, and what can't be one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from rkllmd.abi.layouts.rkllm import RKLLMInferMode, RKLLMInputType
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.language import prompt_length
from rkllmd.language.caching.saved_by_runs import SavedByRuns
from rkllmd.language.chats import messages as message_list
from rkllmd.language.chats.held import Chat
from rkllmd.language.runs import guiding
from rkllmd.language.runs.rendering import media, templates
from rkllmd.language.runs.turns.turn import ConversationTurn

if TYPE_CHECKING:
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


def _caches(run: Run, chat: Chat) -> SavedByRuns:
    return SavedByRuns(run.language, run.model, run.parameters, chat)


def _lora(run: Run) -> str | None:
    name = (run.infer_params.json.get("lora_params") or {}).get("lora_adapter_name")
    return None if name is None else str(name)
