"""The answers to one request, one after the other: which is next, and how many tokens they took together."""

from __future__ import annotations

from rkllmd.gateway.openai import shape
from rkllmd.gateway.run import cached_tokens, generated_tokens, prompt_tokens
from rkllmd.json_types import JsonObject


class Counting:
    """Counts ``answers``, of which ``to_each`` follow each other that are answers to the same prompt."""

    def __init__(self, answers: int = 1, to_each: int = 1) -> None:
        """Begin before the first one."""
        self.index = 0
        self._answers = answers
        self._to_each = to_each
        self._read = self._cached = self._made = 0

    @property
    def is_over(self) -> bool:
        """Return whether all answers have ended."""
        return self.index >= self._answers

    @property
    def prompt(self) -> int:
        """Return to which of the prompts the answer belongs, from 0."""
        return self.index // self._to_each

    def add(self, result: JsonObject) -> JsonObject:
        """Take the end of an answer; return what all so far took, as OpenAI has it: each prompt counts once."""
        if self.index % self._to_each == 0:
            self._read += prompt_tokens(result)
            self._cached += cached_tokens(result)
        self._made += generated_tokens(result)
        self.index += 1
        return shape.counted(self._read, self._made, self._cached)
