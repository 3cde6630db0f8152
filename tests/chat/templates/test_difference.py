"""What must still be read of a conversation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.templates.difference import NewPart, new_part
from rkllmd.chat.templates.template import Rendered
from tests.chat.templates.common import PUBLISHED, template_of

CHATML = template_of(PUBLISHED["qwen3"], control=["<|im_start|>", "<|im_end|>"])
FIRST = [{"role": "user", "content": "Grüße"}]
THINKING = [*FIRST, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello."}]
SECOND = [*THINKING, {"role": "user", "content": "And?"}]


def test_a_conversation_that_goes_on_has_a_new_part() -> None:
    held = CHATML.render(FIRST).text + "Hello."
    wanted = CHATML.render([*FIRST, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And?"}])
    part = new_part(held, wanted)
    assert part.is_whole
    assert part.text == "<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
    assert part.kept_bytes == len(held.encode())


def test_where_thoughts_are_dropped_it_is_read_anew_from_the_answer_on() -> None:
    """The template leaves out what was thought before earlier answers."""
    held = CHATML.render(THINKING, add_generation_prompt=False).text
    part = new_part(held, CHATML.render(SECOND))
    assert not part.is_whole
    assert part.text.startswith("<|im_start|>assistant\nHello.<|im_end|>")
    assert held.encode()[: part.kept_bytes].decode() + part.text == CHATML.render(SECOND).text


def test_without_anything_in_common_all_is_new() -> None:
    assert new_part("abc", Rendered("xyz", "words")) == NewPart(0, "xyz", is_whole=False)
    assert new_part("", Rendered("xyz", "words")) == NewPart(0, "xyz", is_whole=True)


@given(st.text("ab<|é>", max_size=30), st.text("ab<|é>", max_size=30), st.text("ab<|é>", max_size=10))
def test_what_is_kept_and_what_is_new_are_the_whole(begin: str, held: str, wanted: str) -> None:
    text = begin + wanted
    marks = tuple((len(text[:at].encode()), len(text[:at].encode()) + 1) for at, c in enumerate(text) if c == "<")
    part = new_part(begin + held, Rendered(text, "model", marks))
    assert text.encode()[: part.kept_bytes].decode() + part.text == text
    assert (begin + held).encode().startswith(text.encode()[: part.kept_bytes])
    assert part.is_whole == text.startswith(begin + held)
    assert part.is_whole or part.kept_bytes == 0 or part.kept_bytes in [begin for begin, _ in marks]
