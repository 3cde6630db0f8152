"""Reads a model's chat template, control tokens and sizes out of a GGUF file: keys and typed values before the weights.

Source: the GGUF specification (ggml's docs/gguf.md), version 3. The file is read and not mapped: if somebody cuts it
short meanwhile, reading ends early, whereas a mapping would end the process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import BinaryIO, Final

from rkllmd import open_files
from rkllmd.quick_dataclass import dataclass

_MAGIC: Final = b"GGUF"
_TEMPLATE: Final = "tokenizer.chat_template"
_ARCHITECTURE: Final = "general.architecture"
# Architectures whose image embeddings carry more than the first layer's, so their rows are several times as wide.
_DEEP: Final = ("qwen3vl", "qwen3vlmoe")
# The types of values, by their numbers. These have so many bytes; the others are strings and arrays.
_SIZES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_COUNT: Final = 4
_COUNTS: Final = (4, 5)
_STRING: Final = 8
_ARRAY: Final = 9
_WORDS: Final = "tokenizer.ggml.tokens"
_KINDS: Final = "tokenizer.ggml.token_type"
# Sizes stand before the vocabulary. So far is looked for them, on the event loop.
# A model of one size per block has a few hundred keys.
_MOST_KEYS: Final = 1000
_MOST_BLOCKS: Final = 1024
_MOST_TEXT_BYTES: Final = 65_536
# So few bytes are read sooner than a seek has passed over them.
_READ_BYTES: Final = 4096
_MOST_LONG_TEXT_BYTES: Final = 2**20
# A vocabulary has up to 300,000 words with ten bytes each.
_MOST_WORDS: Final = 2**20
_MOST_WORD_BYTES: Final = 2**25
# Kinds of tokens, by their numbers in tokenizer.ggml.token_type.
_UNKNOWN: Final = 2
_CONTROL: Final = 3
_USER_DEFINED: Final = 4
_NO_WORDS: Final = (_UNKNOWN, _CONTROL, _USER_DEFINED)
# What all tokens have in their texts that stand around a gap to be filled in.
_IN_GAPS: Final = b"fim"
_MOST_MARKER_BYTES: Final = 64
# llama.cpp's numbers; 0 is none.
_POOLING: Final = {1: "mean", 2: "cls", 3: "last"}
_NAMED_TOKENS: Final = ("bos", "eos", "unknown", "padding")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What decides how much memory a model takes beside its weights.

    ``cell_numbers``: of how many numbers a token's keys and values are in all blocks together; ``width``: of an
    embedding, ``inner_width``: of a block's feed-forward layer; ``context``: the tokens that it was trained for.
    """

    cell_numbers: int
    heads: int
    width: int
    inner_width: int
    vocabulary: int
    context: int


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What the file says of text: chat templates by their names, and tokens that are no words.

    ``named``: the texts of the tokens that have a role ("bos", "eos", "unknown", "padding"). ``control``: those that
    steer the model, ``user_defined``: others that stand for themselves, such as tags.
    """

    templates: dict[str, str]
    named: dict[str, str]
    control: tuple[str, ...]
    user_defined: tuple[str, ...]


def tokenizer(path: str) -> Tokenizer | None:
    """Return the tokenizer's templates and special tokens; None for a file that is no GGUF. Raises OSError.

    It reads the whole vocabulary, which takes tenths of a second: not on the event loop.
    """
    with open(path, "rb", opener=open_files.without_waiting) as file:
        try:
            return _tokenizer(*_Reader(file).tokenizer())
        except (ValueError, struct.error, KeyError, RecursionError):
            return None


def _tokenizer(texts: dict[str, str], numbers: dict[str, int], words: list[str], kinds: list[int]) -> Tokenizer:
    named = {role: numbers.get(f"tokenizer.ggml.{role}_token_id", len(words)) for role in _NAMED_TOKENS}
    templates = {
        key.removeprefix(_TEMPLATE).removeprefix(".") or "default": text
        for key, text in texts.items()
        if key.startswith(_TEMPLATE)
    }
    pairs = list(zip(words, kinds, strict=False))
    return Tokenizer(
        templates=templates,
        named={role: words[number] for role, number in named.items() if number < len(words)},
        control=tuple(word for word, kind in pairs if kind in (_UNKNOWN, _CONTROL)),
        user_defined=tuple(word for word, kind in pairs if kind == _USER_DEFINED),
    )


def sizes(path: str) -> Sizes | None:
    """Return the model's sizes; None for a file that does not say them, or that is no GGUF. Raises OSError."""
    with open(path, "rb", opener=open_files.without_waiting) as file:
        try:
            return _sizes(dict(_Reader(file).counts()))
        except (ValueError, struct.error, KeyError, RecursionError):
            return None


def _sizes(found: dict[str, list[int]]) -> Sizes:
    """Return what the counts mean, by their names without the architecture. Raises KeyError, ValueError."""

    def one(name: str, default: int | None = None) -> int:
        return max(found[name]) if default is None or name in found else default

    blocks, width, heads = one("block_count"), one("embedding_length"), one("attention.head_count")
    if not (0 < blocks <= _MOST_BLOCKS and width > 0 and heads > 0):
        raise ValueError("no sizes of a model")
    of_blocks = found.get("attention.head_count_kv", [heads])
    kv_heads = sum(of_blocks) if len(of_blocks) > 1 else of_blocks[0] * blocks
    head = width // heads
    numbers = one("attention.key_length", head) + one("attention.value_length", head)
    return Sizes(
        cell_numbers=kv_heads * numbers,
        heads=heads,
        width=width,
        inner_width=one("feed_forward_length", 0),
        vocabulary=one(_WORDS, one("vocab_size", 0)),
        context=one("context_length"),
    )


def chat_template(path: str) -> str | None:
    """Return the model's chat template; None for a file without one, or that is no GGUF. Raises OSError."""
    found = _find(path, _TEMPLATE)
    return found if isinstance(found, str) else None


def embedding_width(path: str) -> int | None:
    """Return how many numbers one of the model's embeddings has; None if that is not known. Raises OSError."""
    architecture = _find(path, _ARCHITECTURE)
    if not isinstance(architecture, str) or architecture in _DEEP:
        return None
    width = _find(path, f"{architecture}.embedding_length")
    return width if isinstance(width, int) and width > 0 else None


def pooling(path: str) -> str | None:
    """Return how the model's rows become one embedding: "mean", "cls", "last"; None if not said. Raises OSError."""
    number = _find(path, f"{_find(path, _ARCHITECTURE)}.pooling_type")
    return _POOLING.get(number) if isinstance(number, int) else None


def gap_tokens(path: str) -> frozenset[str]:
    """Return the tokens that are no words, and that say "fim" (fill in the middle). Raises OSError."""
    return frozenset(key for key, kind in _known(path).items() if _IN_GAPS in key.encode() and kind in _NO_WORDS)


def _find(path: str, key: str) -> str | int | None:
    return _known(path).get(key)


def _known(path: str) -> dict[str, str | int]:
    status = os.stat(path)
    return _values(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=1)
def _values(path: str, identity: tuple[int, ...]) -> dict[str, str | int]:
    """Return the values that a load asks for, by their keys: in one pass, since it takes long to skip a vocabulary."""
    found: dict[str, str | int] = {}
    # Of an empty file, or a damaged one, there is what stands before its end.
    with (
        open(path, "rb", opener=open_files.without_waiting) as file,
        suppress(ValueError, struct.error, KeyError, RecursionError),
    ):
        for key, value in _Reader(file).values():
            found.setdefault(key, value)
    return found


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # How many bytes are left: to ask the file would be a system call for each word of a vocabulary.
        self._left = os.fstat(file.fileno()).st_size

    def _keys(self) -> Iterator[tuple[str, int]]:
        """Yield each key with the type of its value, which has to be read or passed over before the next one.

        Raises ValueError for a file that is no GGUF.
        """
        if self._take(4) != _MAGIC:
            raise ValueError("no GGUF file")
        self._number("<I")  # version
        self._number("<Q")  # tensors
        for _ in range(self._number("<Q")):
            key = self._text()
            yield key, self._number("<I")

    def values(self) -> Iterator[tuple[str, str | int]]:
        """Yield the template, the architecture, keys that are 32-bit counts, and tokens of gaps with their kinds."""
        gaps: dict[int, str] = {}
        kinds: list[int] = []
        for key, kind in islice(self._keys(), _MOST_KEYS):
            if key in (_TEMPLATE, _ARCHITECTURE) and kind == _STRING:
                yield key, self._take(self._number("<Q")).decode()
            elif kind == _COUNT:
                yield key, self._number("<I")
            elif key == _WORDS and kind == _ARRAY:
                gaps = self._gaps()
            elif key == _KINDS and kind == _ARRAY:
                kinds = self._kinds()
            else:
                self._skip(kind)
        yield from ((word, kinds[index]) for index, word in gaps.items() if index < len(kinds))

    def _gaps(self) -> dict[int, str]:
        """Return the words that are of gaps by their places; pass over the others."""
        of, count = self._number("<I"), self._number("<Q")
        if of != _STRING:
            self._skip_items(of, count)
            return {}
        found = {}
        for index in range(count):
            size = self._number("<Q")
            if size > _MOST_MARKER_BYTES:
                self._pass(size)
            elif _IN_GAPS in (word := self._take(size)):
                found[index] = word.decode("utf-8", "replace")
        return found

    def counts(self) -> Iterator[tuple[str, list[int]]]:
        """Yield the counts of the file's architecture, without its name, up to the vocabulary, with that one's size."""
        architecture = None
        for key, kind in islice(self._keys(), _MOST_KEYS):
            if key == _WORDS and kind == _ARRAY:
                self._number("<I")
                yield key, [self._number("<Q")]
                return
            if key == _ARCHITECTURE and kind == _STRING:
                architecture = self._text()
            elif kind in _COUNTS:
                yield key.removeprefix(f"{architecture}."), [self._number("<I")]
            elif kind == _ARRAY:
                yield key.removeprefix(f"{architecture}."), self._few_counts()
            else:
                self._skip(kind)

    def tokenizer(self) -> tuple[dict[str, str], dict[str, int], list[str], list[int]]:
        """Return the texts and numbers that a tokenizer has, the vocabulary, and the kind of each word."""
        texts: dict[str, str] = {}
        numbers: dict[str, int] = {}
        words: list[str] = []
        kinds: list[int] = []
        for key, kind in self._keys():
            if kind == _STRING and key.startswith("tokenizer."):
                texts[key] = self._long_text()
            elif kind in _COUNTS and key.startswith("tokenizer."):
                numbers[key] = self._number("<I")
            elif kind == _ARRAY and key == _WORDS:
                words = self._words()
            elif kind == _ARRAY and key == _KINDS:
                kinds = self._kinds()
            else:
                self._skip(kind)
        return texts, numbers, words, kinds

    def _words(self) -> list[str]:
        of, count = self._number("<I"), self._number("<Q")
        if of != _STRING or count > _MOST_WORDS:
            raise ValueError("no vocabulary")
        words: list[str] = []
        size = 0
        for _ in range(count):
            word = self._take(self._number("<Q"))
            size += len(word)
            if size > _MOST_WORD_BYTES:
                raise ValueError("no vocabulary is so large")
            words.append(word.decode("utf-8", "replace"))
        return words

    def _kinds(self) -> list[int]:
        of, count = self._number("<I"), self._number("<Q")
        if of not in _COUNTS or count > _MOST_WORDS:
            raise ValueError("no kinds of tokens")
        return list(struct.unpack(f"<{count}I", self._take(4 * count)))

    def _few_counts(self) -> list[int]:
        """Return the values of an array of counts, one for each block; those of another array are passed over."""
        of, count = self._number("<I"), self._number("<Q")
        if of in _COUNTS and 0 < count <= _MOST_BLOCKS:
            return [self._number("<I") for _ in range(count)]
        if of not in _SIZES and count > _MOST_BLOCKS:
            raise ValueError("no array that stands before the vocabulary")
        self._skip_items(of, count)
        return [0]

    def _text(self) -> str:
        size = self._number("<Q")
        if size > _MOST_TEXT_BYTES:
            raise ValueError("no name is this long")
        return self._take(size).decode()

    def _long_text(self) -> str:
        size = self._number("<Q")
        if size > _MOST_LONG_TEXT_BYTES:
            raise ValueError("no template is this long")
        return self._take(size).decode()

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self._pass(self._number("<Q"))
        elif kind == _ARRAY:
            self._skip_items(self._number("<I"), self._number("<Q"))
        else:
            self._pass(_SIZES[kind])

    def _skip_items(self, of: int, count: int) -> None:
        if of in _SIZES:
            self._pass(count * _SIZES[of])
            return
        for _ in range(count):
            self._skip(of)

    def _pass(self, size: int) -> None:
        if size <= _READ_BYTES:
            self._take(size)
            return
        if size > self._left:  # also of a size that no seek takes
            raise ValueError("the file ends early")
        self._file.seek(size, os.SEEK_CUR)
        self._left -= size

    def _take(self, size: int) -> bytes:
        if size > self._left:  # before memory for so much is allocated
            raise ValueError("the file ends early")
        taken = self._file.read(size)
        self._left -= size
        if len(taken) != size:
            raise ValueError("the file became shorter")
        return taken

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])
