"""Which dialect a chat template has."""

from __future__ import annotations

import pytest

from rkllmd.chat.answers.dialect import DIALECTS, choose, thinks
from rkllmd.chat.answers.reasoning import THINK, Tags
from rkllmd.config import declared


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "hermes"),
        ("<|channel|>final<|message|>", "harmony"),
        ("<|im_start|>{{ content }}<|im_end|>", "hermes"),
        ('within <tool_call></tool_call>: {"name": …}', "hermes"),
        ("<tool_call>\n<function=name>\n<parameter=key>", "qwen3_coder"),
        ("<|start_header_id|>{{ role }}<|end_header_id|>", "llama"),
        ("{% if ipython %}<|python_tag|>", "llama"),
        ("[AVAILABLE_TOOLS]…[TOOL_CALLS]", "mistral"),
        ("<\uff5ctool\u2581calls\u2581begin\uff5c>", "deepseek"),
        ("<start_of_turn>model", "gemma"),
        ("<|turn>model <|tool_call>call:", "gemma"),
        ("<|tool|>{{ tools }}<|/tool|>", "phi"),
        ("<|tool_call|>", "phi"),
        ("<|tool_call_start|>", "minicpm"),
        ("<|action_start|><|plugin|>", "internlm"),
    ],
)
def test_the_marks_of_the_template_tell(template: str | None, name: str) -> None:
    assert choose(template).name == name


def test_whoever_knows_better_says_so() -> None:
    dialect = choose("<|im_start|><|im_end|>", "llama")
    assert dialect.name == "llama"
    assert dialect.ends == ("<|im_end|>",)
    with pytest.raises(KeyError):
        choose(None, "klingon")


def test_its_reasoning_is_that_of_the_template() -> None:
    assert choose(None).reasoning == (THINK,)
    assert choose("… split('[/THINK]') …").reasoning == (Tags("[THINK]", "[/THINK]"),)


def test_whether_the_prompt_has_opened_it() -> None:
    dialect = choose("<think>")
    assert dialect.opens_reasoning("<|im_start|>assistant\n<think>\n")
    assert not dialect.opens_reasoning("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not dialect.opens_reasoning("<|im_start|>assistant\n")


def test_each_can_be_chosen_by_its_name() -> None:
    assert all(choose(None, name).name == name for name in DIALECTS)
    assert tuple(DIALECTS) == declared.DIALECTS, "those that can be declared"


@pytest.mark.parametrize(
    ("template", "can"),
    [
        ("{% if enable_thinking %}{% endif %}", True),
        ("{{ content.split('</think>')[-1] }}", True),
        ("<|channel|>analysis<|message|>", True),
        ("<|im_start|>{{ content }}<|im_end|>", False),
        ("", False),
    ],
)
def test_a_template_shows_whether_there_is_reasoning(template: str, can: bool) -> None:
    assert thinks(template) is can
