"""Placeholders of media in texts; what reaches C is in tests/server/conversations/test_messages.py."""

from __future__ import annotations

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.language.chats.messages import read
from rkllmd.language.chats.text import Text
from rkllmd.language.runs.rendering import media

LAYOUT = LAYOUTS["1.3"]
PARTS = [{"type": "image", "image": {"image_embed": [1.0]}}, {"type": "text", "text": "<image> and <video>?"}]
MESSAGES = read([{"role": "user", "content": PARTS}])


def test_only_what_was_given_has_a_placeholder() -> None:
    text = Text(((MESSAGES[0].text, False),))
    assert str(media.in_place(text, MESSAGES, LAYOUT, is_bare=False)) == "<image>< image> and < video>?"
    assert str(media.in_place(Text((("<image>?", False),)), (), LAYOUT, is_bare=True)) == "< image>?"


def test_a_models_own_template_has_put_them_there() -> None:
    text = Text((("<image>?", False),))
    assert media.in_place(text, MESSAGES, LAYOUT, is_bare=True) == text
