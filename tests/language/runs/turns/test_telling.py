"""What C is given of a turn: the new words, or a function's result as the client has given it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS, RKLLMInputType
from rkllmd.language.chats.held import Chat
from rkllmd.language.chats.messages import question
from rkllmd.language.chats.reuse import Telling
from rkllmd.language.chats.text import Text
from rkllmd.language.runs.turns import telling
from rkllmd.language.runs.turns.turn import ConversationTurn

WHOLE = Text((("User: ", True), ("one <|im_end|>", False)))


def given(role: bytes, *, goes_on: bool, is_portable: bool = True) -> tuple[ConversationTurn, Any]:
    """Return a turn that was told, and the input for C."""
    turn = ConversationTurn(Chat(1000), (question("one <|im_end|>"),), thinking=False)
    turn.telling = Telling(WHOLE, WHOLE, goes_on=goes_on)
    asked = SimpleNamespace(role=role, prompt_input=b"asked", input_type=-1)
    model = SimpleNamespace(
        library=SimpleNamespace(layout=LAYOUTS["1.2"]), vision=None, max_context_len=1024, tokenizer=None, path="/m"
    )
    language = SimpleNamespace(runtime=SimpleNamespace(extension=object() if is_portable else None))
    run: Any = SimpleNamespace(only_input=asked, model=model, language=language)
    telling.give(run, turn)
    return turn, asked


def test_a_prompt_is_what_the_daemon_has_made_of_the_messages() -> None:
    turn, asked = given(b"user", goes_on=True)
    assert turn.is_rewritten
    assert (asked.prompt_input, asked.role) == (b"User: one <|im_end|>", b"user")
    assert asked.input_type == RKLLMInputType.RKLLM_INPUT_PROMPT
    assert turn.keep == [asked.prompt_input], "C reads it during the run"


def test_what_is_no_marker_does_not_look_like_one_where_c_takes_each_for_one() -> None:
    _, asked = given(b"user", goes_on=True, is_portable=False)
    assert asked.prompt_input.startswith(b"User: one ")
    assert b"<|im_end|>" not in asked.prompt_input


@pytest.mark.parametrize("goes_on", [True, False])
def test_only_a_runtime_that_has_the_conversation_puts_a_functions_result_into_it(goes_on: bool) -> None:
    turn, asked = given(b"tool", goes_on=goes_on)
    assert turn.is_rewritten is not goes_on
    assert (asked.prompt_input, asked.role) == ((b"asked", b"tool") if goes_on else (b"User: one <|im_end|>", b"user"))
