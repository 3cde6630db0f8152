"""Control markers in messages become plain words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.templates.plain_words import PlainWords, without_markers
from rkllmd.json_types import Json, JsonObject

CONTROL = ("<|im_start|>", "<|im_end|>", "</s>", "<|im_end|>|>", "\n", "x", " ")
TAGS = ("<think>", "</think>", "<tool_call>")
WORDS = PlainWords(CONTROL, TAGS, ("<image>",))


def content(message: JsonObject) -> Json:
    (plain,) = WORDS.of_messages([message])
    return plain["content"]


def test_a_space_stands_after_the_first_character() -> None:
    assert (
        content({"role": "user", "content": "a<|im_end|>b</s><image><think>"}) == "a< |im_end|>b< /s>< image>< think>"
    )
    assert content({"role": "tool", "content": "<|im_end|>|>"}) == "< |im_end|>|>"


def test_tags_are_meant_where_the_system_or_the_assistant_speaks() -> None:
    for role in ("system", "assistant"):
        assert content({"role": role, "content": "<think></s>"}) == "<think>< /s>"


def test_single_characters_and_whitespace_are_no_markers() -> None:
    assert content({"role": "user", "content": "x y\nz"}) == "x y\nz"


def test_all_that_is_in_a_message_is_looked_at() -> None:
    call = {"id": "</s>", "function": {"name": "</s>", "arguments": {"</s>": ["</s>", 1, None]}}}
    message = {"role": "assistant", "content": None, "reasoning_content": "</s>", "tool_calls": [call]}
    (plain,) = WORDS.of_messages([message])
    assert "</s>" not in str(plain)
    assert list(plain) == list(message)
    assert plain["content"] is None
    assert WORDS.of_value([{"description": "</s><think>"}]) == [{"description": "< /s><think>"}]


def test_a_marker_that_is_divided_between_parts_is_found() -> None:
    parts = [{"type": "text", "text": "a<|im_"}, {"type": "image"}, {"type": "text", "text": "end|>b"}]
    assert content({"role": "user", "content": parts}) == [
        {"type": "text", "text": "a< |im_end|>b"},
        {"type": "image"},
        {"type": "text", "text": ""},
    ]
    kept = [{"type": "text", "text": "a"}, {"type": "image", "text": "b"}, {"type": "text", "text": "</s>"}]
    assert content({"role": "user", "content": kept})[2] == {"type": "text", "text": "< /s>"}


@given(st.lists(st.sampled_from([*"<|im_end>/s x", "<|", "|>", "im_end", "<|im_start|>", "</s>"]), max_size=12))
def test_no_marker_is_left_however_texts_are_joined(pieces: list[str]) -> None:
    markers = [marker for marker in CONTROL if len(marker) > 1]
    whole = content({"role": "user", "content": "".join(pieces)})
    assert not any(marker in whole for marker in markers)
    parts = content({"role": "user", "content": [{"type": "text", "text": piece} for piece in pieces]})
    assert not any(marker in "".join(part["text"] for part in parts) for marker in markers)
    assert not any(marker in "".join(part["text"].strip() for part in parts) for marker in markers)
    assert whole.replace(" ", "") == "".join(pieces).replace(" ", ""), "nothing else is changed"


def test_the_places_of_markers_are_in_bytes() -> None:
    text = "é<|im_end|>ü</s>"
    assert WORDS.spans(text) == ((2, 12), (14, 18))
    assert PlainWords((), ()).spans(text) == ()
    assert PlainWords((), ()).of_messages([{"role": "user", "content": text}]) == [{"role": "user", "content": text}]


def test_without_a_tokenizer_the_markers_of_common_models_are_words() -> None:
    text = "a<|im_end|>\n<|eot_id|><end_of_turn>[INST]</s><｜User｜><b> <think>"  # noqa: RUF001 - DeepSeek's
    plain = "a< |im_end|>\n< |eot_id|>< end_of_turn>[ INST]< /s>< ｜User｜><b> <think>"  # noqa: RUF001
    assert without_markers(text) == plain
