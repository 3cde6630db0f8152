"""What a run has generated so far, as partial results and as the final one: whole characters, up to a stop string.

With a reader also what the model means by them (texts/answer.py). Without I/O.
"""

from __future__ import annotations

import codecs
import operator
from collections.abc import Callable, Sequence
from typing import Final

from rkllmd.abi.layouts.rkllm import LLMCallState
from rkllmd.chat.answers.reading import AnswerReader
from rkllmd.chat.answers.stop import StopMatcher
from rkllmd.json_types import JsonObject
from rkllmd.language.guided.legal_text import LegalText
from rkllmd.language.texts.answer import Answer
from rkllmd.language.texts.likelihoods import Likelihoods

NORMAL: Final = int(LLMCallState.RKLLM_RUN_NORMAL)
WAITING: Final = int(LLMCallState.RKLLM_RUN_WAITING)
FINISH: Final = int(LLMCallState.RKLLM_RUN_FINISH)

# A copy of one callback: its state, and for each batch entry the token's id and the bytes of its text (None for NULL).
Token = tuple[int, bytes | None]
Callback = tuple[int, list[Token]]


class TextJoiner:
    """Joins the bytes of one text into whole characters; what never completes becomes U+FFFD.

    From a stop string on, there is no more text.
    """

    __slots__ = ("_decoder", "_held", "_is_plain", "_legal", "_rest", "_stop", "is_clear", "parts")

    def __init__(self, stop: Sequence[str] = (), legal: LegalText | None = None) -> None:
        """``stop`` are the stop strings; ``legal`` says which text may be shown at all."""
        self._legal = legal
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = b""
        self._stop = StopMatcher(stop) if stop else None
        self._is_plain = not stop and legal is None  # what is complete is shown
        # Whether the next text is shown as it is: no bytes of a character are held, by the decoder either.
        self.is_clear = self._is_plain
        self._rest = ""  # what was added at the end and not shown yet
        self.parts: list[str] = []

    @property
    def stopped_by(self) -> str | None:
        """Return the stop string that was found."""
        return None if self._stop is None else self._stop.found

    def add(self, state: int, data: bytes | None) -> str:
        """Take the text of one callback and return the characters that are complete now, and no part of a stop string.

        What may still become one is held back.
        """
        if state == NORMAL and data and self.is_clear:
            try:
                text = data.decode()
            except UnicodeDecodeError:
                pass
            else:
                self.parts.append(text)
                return text
        text = self._complete(state, data)
        return self._show(text if self._legal is None else self._legal.feed(text))

    def put(self, words: bytes) -> str:
        """Go on with words that are not the model's; return as ``add`` what is complete now."""
        assert self._legal is not None, "only an answer that is judged gets such words"
        return self._show(self._legal.put(words))

    def _show(self, text: str) -> str:
        if self._stop is not None:
            text = self._stop.feed(text)
        if text:
            self.parts.append(text)
        return text

    def _complete(self, state: int, data: bytes | None) -> str:
        text = self._join(state, data)
        self.is_clear = self._is_plain and not self._held and not self._decoder.getstate()[0]
        return text

    def _join(self, state: int, data: bytes | None) -> str:
        if state == WAITING:
            # The runtime holds incomplete bytes back itself. If it shows them nevertheless, the next text either
            # repeats or continues them: whether it begins with them decides.
            self._held = self._with_held(data or b"")
            return ""
        if not data:
            return ""
        data = self._with_held(data)
        self._held = b""
        return self._decoder.decode(data)

    def _with_held(self, data: bytes) -> bytes:
        return data if data.startswith(self._held) else self._held + data

    def close(self, ending: Callable[[str], str]) -> None:
        """End the text with what ``ending`` returns for it; bytes that were never completed are left out."""
        self._decoder.reset()
        self._held = b""
        held = "" if self._stop is None else self._stop.end()
        self._rest = held + ending("".join(self.parts) + held)
        self.parts.append(self._rest)

    def end(self) -> str:
        """Return what was held back, what was added, and what stands for bytes that were never completed."""
        text = self._decoder.decode(self._held, final=True)
        if self._stop is not None:
            text = self._stop.feed(text) + self._stop.end()
        self._held = b""
        if text:
            self.parts.append(text)
        rest, self._rest = self._rest, ""
        return rest + text


class Transcript:
    """What a run has generated so far, as partial results and as the final one."""

    def __init__(
        self,
        n_batch: int,
        stop: Sequence[str] = (),
        legal: LegalText | None = None,
        most_rounds: int = 0,
        likelihoods: Likelihoods | None = None,
    ) -> None:
        """``stop`` are the stop strings of each entry; ``legal`` says what of a single one may be shown.

        ``most_rounds``: after how many callbacks with tokens it stops, which C has not been told; 0: no limit.
        ``likelihoods``: of the tokens of a single entry, where they are wanted.
        """
        self.n_batch = n_batch
        # Every entry that goes on has come to a stop string: nothing more is to be generated.
        self.is_stopped = False
        self.tokens = 0  # so far: the number of the next partial result
        self.rounds = 0  # callbacks with tokens of the model
        self.made = 0  # the tokens of all entries: an entry of a batch that has ended makes none
        self.legal = legal
        self.likelihoods = likelihoods
        # Whether its callbacks can be ``plain``.
        self.may_be_plain = n_batch == 1 and legal is None and likelihoods is None and not most_rounds
        self._joiners = [TextJoiner(stop, legal) for _ in range(n_batch)]
        self._may_stop = bool(stop)
        self._most_rounds = most_rounds
        self._answer: Answer | None = None
        self._after_call = ""

    def read_by(self, reader: AnswerReader) -> None:
        """Let the text of a single entry be read from its beginning on; the reader looks for its own stop strings."""
        self._joiners = [TextJoiner()]
        self._answer = Answer(reader)
        self._may_stop = reader.may_stop

    def read_form_by(self, reader: AnswerReader, openings: Sequence[str]) -> None:
        """Let the text of a single entry be read that is kept to a form, or begins with a call (``openings``).

        Its stop strings are looked for as before.
        """
        self._answer = Answer(reader)
        if self.legal is not None:
            self.legal.openings = [opening.encode() for opening in openings]

    def read_call_by(self, reader: AnswerReader, before: str, after: str) -> None:
        """Let the text be read as a call: it is one, without the marks that the reader knows calls by."""
        self._joiners = [TextJoiner(legal=self.legal)]
        self._answer = Answer(reader)
        self._may_stop = reader.may_stop
        self._answer.add(before)
        self._after_call = after

    def partial(self, state: int, entries: list[Token]) -> JsonObject:
        """Return the partial result of one callback."""
        seq = self.tokens
        self.tokens = seq + 1
        self.rounds += 1
        if self.n_batch == 1:
            self.made += 1
            token_id, data = entries[0]
            result = self._members(self._joiners[0].add(state, data))
            if self.likelihoods is not None:
                result["logprobs"] = self.likelihoods.tell(data)
            result["token_id"] = token_id
        else:
            result = self._batch(state, entries)
        result["_callback_state"] = state
        result["seq"] = seq
        if self._most_rounds and self.is_cut:
            self.is_stopped = True
        return result

    def plain(self, token_id: int, data: bytes | None) -> JsonObject | None:
        """Return what ``partial`` would of a callback that says no more than text; None: nothing is done with it.

        With few steps, for a single entry: a token that comes slowly finds the processor's caches cold.
        """
        joiner, answer = self._joiners[0], self._answer
        if self.is_stopped or not data or not joiner.is_clear:
            return None
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return None
        if answer is not None:
            if not answer.passes(text):
                return None
            answer.pieces.append(text)
        joiner.parts.append(text)
        seq = self.tokens
        self.tokens = seq + 1
        self.rounds += 1
        self.made += 1
        return {"text": text, "token_id": token_id, "_callback_state": NORMAL, "seq": seq}

    @property
    def is_cut(self) -> bool:
        """Return whether it has come to a limit of tokens that C has not been told."""
        return 0 < self._most_rounds <= self.rounds

    def _batch(self, state: int, entries: list[Token]) -> JsonObject:
        """Return what a partial result shows of each entry."""
        self.made += sum(data is not None for _, data in entries)
        batch = [
            {"text": joiner.add(state, data), "token_id": token_id}
            for joiner, (token_id, data) in zip(self._joiners, entries, strict=True)
        ]
        if self._may_stop:
            self.is_stopped = self._have_all_stopped(entries)
        return {"batch": batch}

    def put(self, words: bytes) -> JsonObject:
        """Return the partial result of words that are not the model's: they have no token."""
        seq = self.tokens
        self.tokens += 1
        text = self._joiners[0].put(words)
        return {**self._members(text), "token_id": -1, "_callback_state": NORMAL, "seq": seq}

    def _members(self, text: str) -> JsonObject:
        """Return what a partial result of a single entry shows of its next characters."""
        members = {"text": text} if self._answer is None else self._answer.add(text)
        if self._may_stop:
            self.is_stopped = self.stopped_by is not None
        return members

    def _have_all_stopped(self, entries: list[Token]) -> bool:
        """Return whether each entry has come to a stop string, or has ended by itself: then it has no token."""
        stopped = [joiner.stopped_by is not None for joiner in self._joiners]
        ended = [data is None and token_id < 0 for token_id, data in entries]
        return any(stopped) and all(map(operator.or_, stopped, ended))

    def so_far(self) -> JsonObject:
        """Return the complete characters so far; may be called on any thread."""
        if self._answer is not None:
            return self._answer.whole()
        texts = ["".join(joiner.parts) for joiner in self._joiners]
        return {"text": texts[0]} if self.n_batch == 1 else {"batch": [{"text": text} for text in texts]}

    def close(self, ending: Callable[[str], str]) -> None:
        """End the text of a single entry with what ``ending`` returns for it, before the final result is made."""
        self._joiners[0].close(ending)

    def final(self, *, whole: bool) -> JsonObject:
        """Return the text members of the final result: the ``whole`` text, or only what was still incomplete."""
        result = self._final(whole=whole)
        if self.likelihoods is not None:
            result["logprobs"] = self.likelihoods.end()
        return result

    def _final(self, *, whole: bool) -> JsonObject:
        rests = [joiner.end() for joiner in self._joiners]
        if self._answer is not None:
            return self._final_answer(self._answer, rests[0] + self._after_call, whole=whole)
        texts = ["".join(joiner.parts) for joiner in self._joiners] if whole else rests
        stopped_by = [joiner.stopped_by for joiner in self._joiners]
        found = [{} if string is None else {"stop_sequence": string} for string in stopped_by]
        if self.n_batch == 1:
            self.is_stopped = bool(found[0])
            return {"text": texts[0], "token_id": 0, "_callback_state": FINISH, **found[0]}
        batch = [{"text": text, "token_id": 0, **by} for text, by in zip(texts, found, strict=True)]
        return {"batch": batch, "_callback_state": FINISH}

    def _final_answer(self, answer: Answer, rest: str, *, whole: bool) -> JsonObject:
        """Return the members of an answer that was read; its calls are always whole."""
        members = answer.end(rest)
        if whole:
            members = answer.whole()
        elif answer.calls:
            members["tool_calls"] = answer.calls
        stopped_by = self.stopped_by
        self.is_stopped = stopped_by is not None
        found = {"stop_sequence": stopped_by} if self.is_stopped else {}
        return {**members, "token_id": 0, "_callback_state": FINISH, **found}

    @property
    def calls_tools(self) -> bool:
        """Return whether a reader has found whole calls so far."""
        return self._answer is not None and bool(self._answer.calls)

    @property
    def stopped_by(self) -> str | None:
        """Return the stop string at which a single entry has ended."""
        by_reader = None if self._answer is None else self._answer.stopped_by
        return self._joiners[0].stopped_by if by_reader is None else by_reader

    def raw(self) -> str:
        """Return the text of a single entry as the model wrote it, as far as it was shown or read."""
        return "".join(self._joiners[0].parts)
