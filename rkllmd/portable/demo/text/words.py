"""Lists of words, written as plain text."""

from __future__ import annotations


def words(text: str) -> list[str]:
    """Split at white space."""
    return text.split()


def listed(text: str, separator: str = ",") -> list[str]:
    """Split at commas."""
    return text.split(separator)
