"""By which tokens a model that was trained for it knows that it is to fill in a gap between two texts."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple


class Markers(NamedTuple):
    """Between which control tokens a model was trained to read what stands before a gap, and what behind it."""

    before: str
    behind: str
    middle: str


# Of Qwen and CodeGemma; StarCoder and Granite; DeepSeek-Coder. As their makers' model cards have them.
_KNOWN: Final = (
    Markers("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    Markers("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    Markers("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
)


def markers(tokens: AbstractSet[str]) -> Markers | None:
    """Return the markers that are among a tokenizer's tokens that are no words; None if it has none."""
    return next((found for found in _KNOWN if tokens >= set(found)), None)
