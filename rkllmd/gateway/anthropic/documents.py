"""Documents and search results among what a user or a function says: the model is told them as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rkllmd.gateway.fields import Fields
from rkllmd.json_types import Json, JsonObject

# Where a prompt is to be kept in a cache: the daemon does that by itself.
WITHOUT_EFFECT: Final = ("cache_control",)
# An answer says in its own words from where it has what.
_NEUTRAL: Final[dict[str, tuple[Json, ...]]] = {"citations": ({}, {"enabled": False})}
_NO_TEXT: Final = "can only be text or content here: {} is not supported, so send the text of the document."
_Inside = Callable[[Fields, str, tuple[str, ...]], list[JsonObject]]


def take(block: Fields, kind: str, inside: _Inside) -> list[JsonObject]:
    """Return the parts of a message that a ``document`` or ``search_result`` becomes. Raises WrongField.

    ``inside(outer, name, kinds)`` takes the blocks of some kinds inside of another one, as such parts. What the block
    is called stands before its text.
    """
    if kind == "document":
        names = [block.text(name) for name in ("title", "context")]
        parts = _of_source(block.inner("source"), inside)
    else:
        names = [block.needed(name) for name in ("title", "source")]
        parts = inside(block, "content", ("text",))
    block.neutral(_NEUTRAL, "can't be given here: leave it out.")
    block.without_effect(WITHOUT_EFFECT)
    block.end()
    head = "".join(f"{name}\n" for name in names if name)
    return [{"type": "text", "text": f"{head}\n"}, *parts] if head else parts


def _of_source(source: Fields, inside: _Inside) -> list[JsonObject]:
    kind = source.text("type")
    if kind not in ("text", "content"):
        raise source.wrong("type", _NO_TEXT.format(kind))
    source.without_effect(("media_type",))
    if kind == "text":
        parts: list[JsonObject] = [{"type": "text", "text": source.needed("data")}]
    else:
        parts = inside(source, "content", ("text", "image"))
    source.end()
    return parts
