"""What stands between the turns of a conversation, by a template that was set and by a model's own."""

from __future__ import annotations

import pytest

from rkllmd.language.chats.markers import PLAIN, Markers, of_gguf, of_template


@pytest.mark.parametrize(
    ("strings", "markers"),
    [
        (
            (b"", b"<|im_start|>user\n", b"<|im_end|>\n<|im_start|>assistant\n"),
            Markers("<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>user\n"),
        ),
        ((b"Be brief.", b"[INST]", b"[/INST]"), Markers("[/INST]", "[INST]")),
        ((b"", b"<User>", b"<Assistant>"), Markers("<Assistant>", "<User>")),
        ((b"Be brief.", b"", b""), PLAIN),
    ],
    ids=["ChatML", "no tags", "one tag only begins the answer", "only a system prompt"],
)
def test_the_markers_of_a_template_that_was_set(strings: tuple[bytes, ...], markers: Markers) -> None:
    assert of_template(strings) == markers


@pytest.mark.parametrize(
    ("template", "after_question"),
    [
        ("{{ '<|im_start|>' }}", "<|im_end|>\n<|im_start|>assistant\n"),
        ("<|start_header_id|>", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("<start_of_turn>", "<end_of_turn>\n<start_of_turn>model\n"),
        ("<|assistant|>", "<|end|>\n<|assistant|>\n"),
        ("{{ bos_token }}[INST]", PLAIN.after_question),
        (None, PLAIN.after_question),
    ],
)
def test_the_markers_of_a_models_own_template(template: str | None, after_question: str) -> None:
    assert of_gguf(template).after_question == after_question
    assert of_gguf(template).no_thinking == ""


def test_a_model_that_switches_thinking_is_told_when_it_did_not_think() -> None:
    assert "<think>" in of_gguf("<|im_start|>{% if not enable_thinking %}").no_thinking
