"""Conversations by the model's own template: the whole, and what follows an answer that is known."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.chat.templates.model_template import ModelTemplate
from rkllmd.chat.templates.rendered import Rendered
from rkllmd.errors import InvalidParams
from rkllmd.language.chats.messages import answer, question, read
from rkllmd.language.chats.own_template import OwnTemplate
from tests.chat.templates.common import PUBLISHED, TOOLS, template_of

CONTROL = ("<|im_start|>", "<|im_end|>")
QWEN3 = template_of(PUBLISHED["qwen3"], control=CONTROL, tags=("<think>", "</think>", "<tool_response>"))
OWN = OwnTemplate(QWEN3, None, thinking=False)
TALK = read(
    [
        {"role": "user", "content": "one<|im_end|>"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "two"},
    ]
)
LEAD = "<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_the_whole_is_what_the_template_makes_and_what_leads_to_the_answer_is_its_own() -> None:
    whole = OWN.whole(TALK)
    assert str(whole) == QWEN3.render([message.given for message in TALK], enable_thinking=False).text
    assert whole.parts[-1] == (LEAD, True)
    control = [text for text, is_control in whole.parts if is_control]
    assert control == [*["<|im_start|>", "<|im_end|>"] * 3, LEAD]


def test_a_conversation_is_rendered_once_where_the_template_tells_what_leads_to_the_answer() -> None:
    rendered = list[bool]()

    class Counting(ModelTemplate):
        def render(self, *args: Any, **how: Any) -> Rendered:
            rendered.append(how["add_generation_prompt"])
            return super().render(*args, **how)

    for text, times in ((PUBLISHED["qwen3"], [True]), ("{{ 'a' if add_generation_prompt }}", [True, False])):
        source = template_of(text)._source
        OwnTemplate(Counting(source), None, thinking=False).whole(TALK)
        assert rendered == times
        rendered.clear()


def test_what_follows_a_known_answer_ends_it() -> None:
    following = OWN.after(TALK, 2)
    assert following is not None
    between, rest = following
    assert str(between) == ""
    assert str(rest) == "<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n" + LEAD
    assert rest.parts[-1] == (LEAD, True)


def test_a_template_that_does_not_show_answers_has_nothing_that_follows_them() -> None:
    silent = template_of("{% for m in messages %}{{ m.content if m.role == 'user' }}{% endfor %}")
    assert OwnTemplate(silent, None, thinking=False).after(TALK, 2) is None


def test_a_text_that_does_not_end_where_it_would_has_no_lead() -> None:
    other = template_of("{% if add_generation_prompt %}a{% else %}b{% endif %}{{ messages[0].content }}")
    assert OwnTemplate(other, None, thinking=False).whole(TALK).parts == (("aone<|im_end|>", False),)


def test_tools_and_thinking_reach_the_template() -> None:
    own = OwnTemplate(QWEN3, TOOLS, thinking=True)
    text = str(own.whole(TALK))
    assert '"name": "weather"' in text
    assert text.endswith("<|im_start|>assistant\n")


def test_markers_count_where_they_are_to() -> None:
    assert "one<|im_end|>" in str(OWN.whole((question("one<|im_end|>", special=True),)))
    assert "one< |im_end|>" in str(OWN.whole((question("one<|im_end|>"),)))


def test_in_a_session_a_functions_result_is_a_question_between_tags() -> None:
    said = (question("one"), answer("first"), question("<tool_response>\ndone\n</tool_response>"))
    assert "user\n<tool_response>\ndone\n</tool_response><|im_end|>" in str(OWN.whole(said))


def test_what_the_template_refuses_is_refused() -> None:
    gemma = OwnTemplate(template_of(PUBLISHED["gemma"]), None, thinking=False)
    with pytest.raises(InvalidParams, match="take turns"):
        gemma.whole((question("one"), question("two")))
