"""The exact way: a runtime that asks, before it chooses a token, which ones keep the answer legal.

Only the portable runtime does (``extension.guide_next_run``). The judge knows the model's tokens by their bytes, so
that one engine serves both ways, and no schema means one thing here and another on a board.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Final

from rkllmd.abi.llguidance import Matcher, Tokenizer, Vocabulary
from rkllmd.language.guided.grammar import Grammar, free_after

_NONE: Final = -1
# One of 150,000 tokens takes half a second to read, and 50 MB.
_KEPT_VOCABULARIES: Final = 2


class TokenGuide:
    """Says which tokens may be next, for one run."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer, openings: Sequence[str] = ()) -> None:
        """Begin an answer, in which all is legal if the model by itself begins it with one of ``openings``.

        Raises InvalidParams for a schema that is too much for this vocabulary.
        """
        self._formed = partial(grammar.on_tokens, tokenizer)
        self._matcher = self._formed()
        self._free = partial(free_after, openings, tokenizer) if openings else None
        # Why nothing could be said, after which the run fails.
        self.error: str | None = None

    def __call__(self, last: int, likeliest: int, allowed: int, words: int) -> None:
        """Set the bits of the tokens that may follow ``last`` (-1: at the beginning), at the address ``allowed``.

        ``likeliest``: at the beginning, which token the model would choose itself. Called by the runtime in the middle
        of a run. Raises ValueError where nothing can be said.
        """
        if last == _NONE and self._free is not None and self._begins_call(self._free(), likeliest):
            self._matcher = self._free()
        matcher = self._matcher
        if (last == _NONE or matcher.consume(last)) and matcher.compute_mask():
            matcher.copy_mask(allowed, words * 4)
            return
        self.error = (matcher.error or "It is not known what may follow.").partition("\n")[0][:200]
        raise ValueError(self.error)

    def _begins_call(self, opening: Matcher, token: int) -> bool:
        """Return whether an answer that begins with a token is a call: the bracket of an array, say, may be either."""
        return opening.consume(token) and not self._formed().consume(token)


class Vocabularies:
    """Those of the models that had answers in a form last, by their files: a model that is loaded again has its own."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Tokenizer] = {}

    def of(self, file: Hashable, read: Callable[[], Vocabulary]) -> Tokenizer:
        """Return the vocabulary of a model's ``file`` (as it is; None: not known), which ``read`` reads if it must.

        On the worker thread. Raises NotSupported.
        """
        found = self._known.pop(file, None) or Tokenizer(read())
        if file is not None:
            self._known[file] = found
        while len(self._known) > _KEPT_VOCABULARIES:
            del self._known[next(iter(self._known))]
        return found
