"""Lists of words, written as plain text, and what a question is with its answer."""

from __future__ import annotations

QuestionAnswer = tuple[str, str]


def words(text: str) -> list[str]:
    """Split at white space."""
    return text.split()


def listed(text: str, separator: str = ",") -> list[str]:
    """Split at commas."""
    return text.split(separator)
