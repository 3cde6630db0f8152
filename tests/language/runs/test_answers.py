"""How the answer of a conversation is read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.chat.templates.forms import Forms
from rkllmd.errors import InvalidParams
from rkllmd.language.chats.own_template import OwnTemplate
from rkllmd.language.chats.text import Text
from rkllmd.language.runs import answers
from rkllmd.language.texts.transcript import NORMAL, Transcript

CALL = '<tool_call>{"name": "search"}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "search"}}]


def shown(text: str, *, told: tuple[str, bool] = ("Hello", False), jinja: str | None = None, **asked: Any) -> Any:
    """Return what an answer shows; ``told``: the end of what the model was told; ``jinja``: its own template."""
    run: Any = SimpleNamespace(
        model=SimpleNamespace(file=None, dialect=asked.pop("dialect", None)),
        language=SimpleNamespace(runtime=SimpleNamespace(name="portable")),
        **{"messages": [{"role": "user"}], "tools": None, "raw": None, "form": None, "stop": (), **asked},
    )
    forms = Forms(text=True, parts=False, object_arguments=True, tools="tools" in (jinja or ""))
    own: Any = SimpleNamespace(source=jinja, forms=lambda *, with_tools: forms)
    template = SimpleNamespace(source="words") if jinja is None else OwnTemplate(own, TOOLS, thinking=False)
    turn: Any = SimpleNamespace(template=template, told=SimpleNamespace(text=Text.of([told])))
    transcript = Transcript(1, run.stop)
    answers.read(run, turn, transcript)
    transcript.partial(NORMAL, [(1, text.encode())])
    return transcript.final(whole=True)


def test_reasoning_and_calls_are_members() -> None:
    found = shown(f"<think>So.</think>I look.{CALL}", tools=TOOLS)
    assert (found["text"], found["reasoning"]) == ("I look.", "So.")
    assert [call["function"] for call in found["tool_calls"]] == [{"name": "search", "arguments": {}}]


def test_a_declared_dialect_goes_before_that_of_the_template() -> None:
    llama = '<|python_tag|>{"name": "search", "parameters": {}}'
    assert "tool_calls" not in shown(llama, tools=TOOLS)
    (call,) = shown(llama, tools=TOOLS, dialect="llama")["tool_calls"]
    assert call["function"]["name"] == "search"


def test_nothing_is_a_call_without_tools() -> None:
    assert shown(CALL)["text"] == CALL


@pytest.mark.parametrize(
    "asked", [{"raw": True}, {"messages": None}, {"form": SimpleNamespace(is_call=False, may_be_call=False)}]
)
def test_raw_answers_and_guided_ones_and_those_to_prompts_are_as_they_came(asked: dict[str, Any]) -> None:
    text = f"<think>So.</think>{CALL}"
    found = shown(text, tools=TOOLS, **asked)
    assert found["text"] == text
    assert "tool_calls" not in found


def test_an_answer_with_a_form_is_read_where_it_begins_with_a_call() -> None:
    form = SimpleNamespace(is_call=False, may_be_call=True)
    found = shown(CALL, tools=TOOLS, form=form)
    assert (found["text"], len(found["tool_calls"]), form.openings) == ("", 1, ("<tool_call>",))
    text = f'["<think>", "{CALL}"]'
    assert shown(text, tools=TOOLS, form=form)["text"] == text


def test_only_the_template_opens_reasoning_never_the_user() -> None:
    assert shown("So.</think>Yes.", told=("<think>\n", True))["reasoning"] == "So."
    assert shown("So.</think>Yes.", told=("What is <think>", False))["text"] == "So.</think>Yes."
    assert shown("So.</think>Yes.", told=("", False))["text"] == "So.</think>Yes."


def test_the_dialect_is_that_of_the_template_by_which_the_tools_were_told() -> None:
    text = '[TOOL_CALLS][{"name": "search"}]'
    assert "tool_calls" in shown(text, tools=TOOLS, jinja="… tools … [TOOL_CALLS] …")
    assert shown(text, tools=TOOLS)["text"] == text
    assert "tool_calls" in shown(CALL, tools=TOOLS, jinja="… [TOOL_CALLS] …"), "the template has no place for tools"


def test_stop_strings_are_found_in_the_text_as_it_came() -> None:
    found = shown("<think>So. END</think>Yes.", stop=["END"])
    assert (found["text"], found["reasoning"], found["stop_sequence"]) == ("", "So.", "END")


def test_raw_is_refused_beside_a_prompt() -> None:
    for raw in (True, False):
        with pytest.raises(InvalidParams):
            answers.check(SimpleNamespace(raw=raw, messages=None))  # type: ignore[arg-type]  # what of a run it reads
    answers.check(SimpleNamespace(raw=True, messages=[]))  # type: ignore[arg-type]  # as above
    answers.check(SimpleNamespace(raw=None, messages=None))  # type: ignore[arg-type]  # as above
