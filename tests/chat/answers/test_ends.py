"""The mark that ends a turn, shown as text."""

from __future__ import annotations

import pytest

from rkllmd.chat.answers.dialect import choose
from rkllmd.chat.answers.ends import KNOWN, TurnEnd
from tests.chat.answers.whole import Whole, paris, read_in_all_ways


@pytest.mark.parametrize("mark", KNOWN)
def test_it_is_no_part_of_the_answer(mark: str) -> None:
    assert read_in_all_ways(choose("{{ content }}" + mark), f"Hello.{mark}\n") == Whole("Hello.")


CHATML = choose("<|im_start|>{{ content }}<|im_end|>\n{{ '<|endoftext|>' }}")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a<|im_end|>", "a"),
        ("a<|im_end|><|endoftext|>\n", "a"),
        ("a<|im_end|> b", "a<|im_end|> b"),
        ("a<|im_end|>\n<|im_end|>b<|im_end|>", "a<|im_end|>\n<|im_end|>b"),
        ("a<|im_en", "a<|im_en"),
        ("a<|im_end|> <|im", "a<|im_end|> <|im"),
        ("a<|eot_id|>", "a<|eot_id|>"),  # not of this template
    ],
)
def test_only_at_the_very_end(text: str, shown: str) -> None:
    assert read_in_all_ways(CHATML, text) == Whole(shown)


def test_after_a_call_and_before_a_stop_string() -> None:
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>'
    assert read_in_all_ways(CHATML, call) == Whole(calls=[paris()])
    assert read_in_all_ways(CHATML, "a<|im_end|>\nUser:", stop=["User:"]) == Whole("a", stopped_by="User:")


def test_text_without_a_mark_waits_for_nothing() -> None:
    end = TurnEnd(("<|im_end|>",))
    assert [end.feed(piece) for piece in ("a <", "b", "<|im_", "x")] == ["a ", "<b", "", "<|im_x"]
