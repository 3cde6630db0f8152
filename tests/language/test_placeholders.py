"""Words that stand for images, videos and audio, in each layout."""

from __future__ import annotations

import tracemalloc

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.errors import InvalidParams
from rkllmd.language import placeholders

KINDS = {"1.2": ["image"], "1.3": ["image", "video"], "1.3.1": ["image", "video", "audio"]}


@pytest.mark.parametrize("name", KINDS)
def test_a_text_that_stands_beside_every_prompt_has_none(name: str) -> None:
    for kind in ("image", "video", "audio"):
        text = f"Look at <{kind}>.".encode()
        if kind in KINDS[name]:
            with pytest.raises(InvalidParams) as refused:
                placeholders.check_text(text, LAYOUTS[name], "$.system_prompt")
            assert refused.value.data["placeholder"] == f"<{kind}>"
            assert refused.value.data["path"] == "$.system_prompt"
        else:
            placeholders.check_text(text, LAYOUTS[name], "$.system_prompt")  # means nothing there


@pytest.mark.parametrize("name", KINDS)
def test_plain_words_stand_for_nothing(name: str) -> None:
    text = "<image> <video> <audio> <image>"
    plain = placeholders.as_plain_words(text, LAYOUTS[name])
    placeholders.check_text(plain.encode(), LAYOUTS[name], "$")
    assert plain.count("< image>") == 2
    assert ("< audio>" in plain) is ("audio" in KINDS[name])
    assert placeholders.as_plain_words("no words < image>", LAYOUTS[name]) == "no words < image>"


def test_a_text_of_nothing_but_placeholders_is_refused_at_a_few() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidParams, match="1000 times"):
            placeholders.check_text(b"<image>" * 1_000_000, LAYOUTS["1.3"], "$")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000, "seven of them are the text"
