"""What a model is told where it has said something illegal: it is paused, loses its last tokens, and gets other words.

Decides only; ``runs/guiding.py`` makes the calls. In this order: the text that the schema forces; one character that
makes the model's own words legal (a quotation mark that it forgot); another choice, since a run may sample anew; at
last the beginning of the shortest legal text. How often this may happen is limited, so that each answer ends.
"""

from __future__ import annotations

from typing import Final

from rkllmd.language.guided.legal_text import LegalText
from rkllmd.quick_dataclass import dataclass

MOST_ROUNDS: Final = 64
_MOST_TRIES: Final = 2
# What a model forgets before words that would be legal behind it.
_FORGOTTEN: Final = (b'"', b"{", b"[", b",", b":")


@dataclass(frozen=True, slots=True)
class Correction:
    """What is done before the model goes on: the cache loses its last ``dropped`` tokens, then ``words`` are read.

    ``shown`` are those of them that the answer has not yet; ``tries``: how often the choice has failed here.
    """

    dropped: int
    words: bytes
    shown: bytes = b""
    tries: int = 0


class Corrections:
    """Those of one run."""

    def __init__(self, text: LegalText, *, samples_anew: bool) -> None:
        """``samples_anew``: whether a run can be given other sampling parameters than the one before."""
        self.text = text
        self._samples_anew = samples_anew
        self._rounds = 0
        self._tries = 0
        # The words that this round began with, and how many tokens the cache had before them.
        self._words = b""
        self._before: int | None = None

    def next(self, cells: int) -> Correction | None:
        """Return what comes next, None to end the answer here; ``cells``: how many tokens the cache has now."""
        text = self.text
        self._rounds += 1
        if text.refused is None or text.judge.may_end or text.judge.error or self._rounds > MOST_ROUNDS:
            return None
        if text.pieces or text.legal_part:
            self._tries = 0
        correction = self._forced() or self._forgotten(text.refused) or self._legal_part()
        correction = correction or self._again(cells) or self._shortest()
        if correction is not None:
            self._tries = correction.tries
            self._words, self._before = correction.words, cells - correction.dropped
        return correction

    def _forced(self) -> Correction | None:
        text = self.text
        forced = text.judge.forced()
        if not forced and text.is_in_character:
            forced = text.judge.next_words()
        if forced in _FORGOTTEN and text.refused is not None and text.judge.would_accept(forced + text.refused):
            forced += text.refused
        return Correction(text.refused_tokens, text.legal_part + forced, forced) if forced else None

    def _forgotten(self, refused: bytes) -> Correction | None:
        text = self.text
        for before in _FORGOTTEN:
            for words in dict.fromkeys((before + refused, before + refused.lstrip(b" \n"))):
                if text.judge.would_accept(words):
                    return Correction(text.refused_tokens, text.legal_part + words, words)
        return None

    def _legal_part(self) -> Correction | None:
        part = self.text.legal_part
        return Correction(self.text.refused_tokens, part) if part else None

    def _again(self, cells: int) -> Correction | None:
        """Return to where the last choice was made: what was read last is read once more."""
        text = self.text
        if not self._samples_anew or self._tries >= _MOST_TRIES:
            return None
        if text.pieces:
            words, tokens = text.pieces[-1]
            return Correction(text.refused_tokens + tokens, words, tries=self._tries + 1)
        if self._before is None or not self._words:
            return None  # the model has said nothing yet, and its prompt is not read twice
        return Correction(cells - self._before, self._words, tries=self._tries + 1)

    def _shortest(self) -> Correction | None:
        words = self.text.judge.next_words()
        return Correction(self.text.refused_tokens, words, words) if words else None
