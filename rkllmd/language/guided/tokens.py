"""The exact way: a runtime that asks, before it chooses a token, which ones keep the answer legal.

Only the portable runtime does (``extension.guide_next_run``). The judge knows the model's tokens by their bytes, so
that one engine serves both ways, and no schema means one thing here and another on a board.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final

from rkllmd.language.guided.grammar import Grammar

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from rkllmd.portable.extension import Piece

_NONE: Final = -1
# llguidance takes a token that begins with this byte, which no text has, for a control token: no grammar allows it.
_CONTROL: Final = b"\xff"
# One of 150,000 tokens takes a second to read, most of it in llguidance, which lets no other thread run; and 50 MB.
_KEPT_VOCABULARIES: Final = 2


class TokenGuide:
    """Says which tokens may be next, for one run."""

    def __init__(self, grammar: Grammar, tokenizer: LLTokenizer) -> None:
        """Begin an answer. Raises InvalidParams for a schema that is too much for this vocabulary."""
        self._matcher = grammar.on_tokens(tokenizer)
        # Why nothing could be said, after which the run fails.
        self.error: str | None = None

    def __call__(self, last: int, allowed: int, words: int) -> None:
        """Set the bits of the tokens that may follow ``last`` (-1: at the beginning), at the address ``allowed``.

        Called by the runtime in the middle of a run. Raises ValueError where nothing can be said.
        """
        matcher = self._matcher
        if last == _NONE or matcher.consume_token(last):
            matcher.unsafe_compute_mask_ptr(allowed, words * 4)
        if matcher.is_error():
            self.error = matcher.get_error().partition("\n")[0][:200]
            raise ValueError(self.error)


class _Vocabulary:
    """A vocabulary as llguidance wants to see it."""

    def __init__(self, pieces: Sequence[Piece], end: int) -> None:
        self.eos_token_id = end
        self.bos_token_id = None
        self.special_token_ids: list[int] = []
        self.tokens = [piece.text or (_CONTROL + b"%d" % token) for token, piece in enumerate(pieces)]
        self._by_text = {piece.text: token for token, piece in enumerate(pieces) if piece.text}
        self._longest = max(map(len, self._by_text), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """Cut a text that must follow into tokens, from the left the longest that there are."""
        tokens, at = [], 0
        while at < len(text):
            ends = range(min(len(text), at + self._longest), at, -1)
            end = next((end for end in ends if text[at:end] in self._by_text), None)
            if end is None:
                break
            tokens.append(self._by_text[text[at:end]])
            at = end
        return tokens


def tokenizer_of(pieces: Sequence[Piece]) -> LLTokenizer:
    """Return what the judge needs to know of a model's vocabulary; 150,000 tokens take a second.

    Without a token that ends an answer, the run ends where nothing is allowed.
    """
    from llguidance import LLTokenizer, TokenizerWrapper

    ends = [token for token, piece in enumerate(pieces) if piece.ends]
    # Without one, a number that no model gives.
    size = len(pieces) if ends else len(pieces) + 1
    vocabulary = _Vocabulary(pieces, ends[0] if ends else len(pieces))
    if not ends:
        vocabulary.tokens.append(_CONTROL + b"end")
    return LLTokenizer(TokenizerWrapper(vocabulary), n_vocab=size, eos_token=ends or [len(pieces)])


class Vocabularies:
    """Those of the models that had answers in a form last, by their files: a model that is loaded again has its own."""

    def __init__(self) -> None:
        self._known: dict[Hashable, LLTokenizer] = {}

    def of(self, file: Hashable, pieces: Callable[[], Sequence[Piece]]) -> LLTokenizer:
        """Return the vocabulary of a model's ``file`` (as it is; None: not known), which ``pieces`` reads if it must.

        On the worker thread.
        """
        found = self._known.pop(file, None) or tokenizer_of(pieces())
        if file is not None:
            self._known[file] = found
        while len(self._known) > _KEPT_VOCABULARIES:
            del self._known[next(iter(self._known))]
        return found
