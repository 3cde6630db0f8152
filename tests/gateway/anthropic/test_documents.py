"""Documents and search results of Anthropic's turns, as the parts of messages."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway.anthropic import turns
from rkllmd.gateway.fields import Fields, WrongField
from rkllmd.gateway.pictures.given import Picture

PLAIN = {"type": "text", "media_type": "text/plain", "data": "Snow."}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAEC"}}
FOUND = {"type": "search_result", "title": "Weather", "source": "http://a/"}


def content(*blocks: dict[str, Any]) -> Any:
    [said] = turns.take(Fields({"messages": [{"role": "user", "content": list(blocks)}]}))
    return said["content"]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def test_a_document_is_its_text_behind_what_it_is_called() -> None:
    document = {"type": "document", "source": PLAIN, "citations": {"enabled": False}, "cache_control": {}}
    assert content(document) == "Snow."
    named = {**document, "title": "Oslo", "context": "A report."}
    assert content(named) == [text("Oslo\nA report.\n\n"), text("Snow.")]


def test_a_document_may_be_made_of_blocks_with_pictures() -> None:
    assert content({"type": "document", "source": {"type": "content", "content": "Snow."}}) == "Snow."
    seen = Picture("messages[0].content[0].source.content[1].source.data", b"\0\1\2")
    document = {"type": "document", "source": {"type": "content", "content": [text("Snow."), IMAGE]}}
    assert content(document) == [text("Snow."), {"type": "image", "image": seen}]


def test_what_a_search_has_found_is_told_with_its_source() -> None:
    told = [text("Weather\nhttp://a/\n\n"), text("Snow.")]
    found = {**FOUND, "content": [text("Snow.")]}
    assert content(found) == told
    assert content({"type": "tool_result", "tool_use_id": "1", "content": [found]}) == told


@pytest.mark.parametrize(
    ("block", "name"),
    [
        ({"type": "document"}, "source.type"),
        ({"type": "document", "source": {"type": "base64", "data": "YQ=="}}, "source.type"),
        ({"type": "document", "source": {"type": "url", "url": "http://a/"}}, "source.type"),
        ({"type": "document", "source": {"type": "text"}}, "source.data"),
        ({"type": "document", "source": PLAIN, "citations": {"enabled": True}}, "citations"),
        ({**FOUND, "content": [IMAGE]}, "content[0].type"),
        ({"type": "search_result", "content": []}, "title"),
    ],
)
def test_what_is_no_text_is_named(block: dict[str, Any], name: str) -> None:
    with pytest.raises(WrongField) as refused:
        content(block)
    assert refused.value.name == f"messages[0].content[0].{name}"
