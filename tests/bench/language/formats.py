"""What it costs a token to be kept to a format: on the portable runtime, for a large vocabulary, and by pauses."""

from __future__ import annotations

import ctypes
import random
import statistics
import string
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from rkllmd.abi.llguidance import Tokenizer
from rkllmd.language.guided.judge import Judge
from rkllmd.language.guided.legal_text import LegalText
from rkllmd.language.guided.tokens import TokenGuide
from rkllmd.portable import build
from rkllmd.portable.demo import MODEL as DEMO_MODEL
from rkllmd.portable.driver import Driver
from rkllmd.portable.extension import Guide
from tests.language.guided.schema_maker import form_of
from tests.language.guided.vocabularies import END, vocabulary_of

_TOKENS: Final = 120
# As many tokens as large models have; words like theirs.
_VOCABULARY: Final = 150_000
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "story": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "story", "age"],
    "additionalProperties": False,
}
_ANSWER: Final = '{"name": "Ada", "story": "Once upon a time there was a little machine that told stories.", "age": 7}'


@dataclass(frozen=True)
class Figures:
    """In seconds: to read a schema, for each token, and for which others wait while a large vocabulary is read."""

    schema: float
    exact: float
    exact_beside: float
    large_vocabulary: float
    by_pauses: float
    waited: float


def measure(rounds: int) -> Figures:
    """Return the figures of this many rounds."""
    started = time.perf_counter()
    Judge(form_of(_SCHEMA).grammar())
    schema = time.perf_counter() - started
    judged, beside = _on_the_demo_model(rounds)
    # The best of three, since others work on the machine too.
    large = [_large_vocabulary() for _ in range(3)]
    judged_large, waited = (min(figures) for figures in zip(*large, strict=True))
    return Figures(schema, judged, beside, judged_large, _by_pauses(rounds), waited)


def _on_the_demo_model(rounds: int) -> tuple[float, float]:
    """Return what the judge takes for a token, and how much longer a token of a guided run takes in all."""
    with Driver(build.build(), DEMO_MODEL, ignore_eos_token=True) as driver:
        tokenizer = Tokenizer(driver.extension.vocabulary(driver.handle))
        form = form_of({"type": "array", "items": {"type": "string"}, "minItems": 64})
        judged: list[float] = []
        guided, free = [], []
        for _ in range(rounds):
            free.append(_seconds_per_token(driver))
            timed = _Timed(TokenGuide(form.grammar(), tokenizer))
            kept = driver.extension.guide_next_run(driver.handle, timed)
            guided.append(_seconds_per_token(driver))
            judged += timed.seconds
            del kept
    # The best of each: what else happens on the machine only ever adds to it.
    return statistics.median(judged), min(guided) - min(free)


def _seconds_per_token(driver: Driver) -> float:
    outcome = driver.run("Tell me a story.", max_new_tokens=_TOKENS)
    return outcome.perf["generate_time_ms"] / 1000 / len(outcome.tokens[0])


class _Timed:
    def __init__(self, guide: Guide) -> None:
        self._guide = guide
        self.seconds: list[float] = []

    def __call__(self, last: int, likeliest: int, allowed: int, words: int) -> None:
        started = time.perf_counter()
        self._guide(last, likeliest, allowed, words)
        self.seconds.append(time.perf_counter() - started)


def _large_vocabulary() -> tuple[float, float]:
    """Return what the judge takes for a token, and how long others wait at most while the vocabulary is read."""
    chance = random.Random(1)
    words = {bytes([byte]) for byte in range(256)}
    while len(words) < _VOCABULARY:
        letters = string.ascii_lowercase if chance.random() < 0.95 else string.punctuation
        word = "".join(chance.choices(letters, k=chance.randint(1, 9)))
        words.add((chance.choice(("", " ")) + word).encode())
    texts = [*sorted(words), END]
    vocabulary = vocabulary_of(texts)
    with ThreadPoolExecutor(1) as reader:
        reading = reader.submit(Tokenizer, vocabulary)
        longest = _longest_wait(reading.done)
    guide = TokenGuide(form_of(_SCHEMA).grammar(), reading.result())
    size = (len(texts) + 31) // 32
    bits = (ctypes.c_uint32 * size)()
    token_of = {text: token for token, text in enumerate(texts)}
    tokens = [-1, *(token_of[bytes([byte])] for byte in _ANSWER.encode())]
    return _middle(lambda token: guide(token, -1, ctypes.addressof(bits), size), tokens), longest


def _longest_wait(is_over: Callable[[], bool]) -> float:
    """Return how long this thread waits for its turn at most: it lets go of the processor for a moment each time."""
    longest, last = 0.0, time.perf_counter()
    while not is_over():
        time.sleep(0.0005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


def _by_pauses(rounds: int) -> float:
    pieces = [_ANSWER[at : at + 3] for at in range(0, len(_ANSWER), 3)]
    return min(_middle(LegalText(Judge(form_of(_SCHEMA).grammar())).feed, pieces) for _ in range(rounds))


def _middle(call: Callable[[Any], object], values: list[Any]) -> float:
    """Return the median of what the calls take, one after the other."""
    taken = []
    for value in values:
        started = time.perf_counter()
        call(value)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
