"""The markers of gaps that a tokenizer has."""

from __future__ import annotations

from rkllmd.chat.templates import gaps


def test_the_markers_are_those_that_are_all_there() -> None:
    tokens = {"<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|fim_prefix|>"}
    assert gaps.markers(tokens) == ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    assert gaps.markers(tokens - {"<fim_middle>"}) is None
