"""llguidance by its C functions (llguidance.h), which the file of its Python package exports.

Its Python classes hold Python's lock while they read a vocabulary: half a second for 150,000 tokens, in which no other
thread runs, the event loop included. These functions are called without it. All that they have of ours is read before
they return, and a tokenizer lives as long as the matchers that were made with it.
"""

from __future__ import annotations

import ctypes
import struct
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_int, c_size_t, c_ubyte, c_uint32, c_uint64, c_void_p
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rkllmd.errors import NotSupported
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from llguidance import LLParserLimits

# A token that begins with this byte, which no text has, is a control token for llguidance: no grammar allows it.
CONTROL: Final = b"\xff"
_ERROR_BYTES: Final = 300
_GRAMMAR: Final = b"llguidance"


class _TokenizerInit(Structure):
    """LlgTokenizerInitV2; later versions append fields, and read only as many bytes as ``struct_size`` says."""

    _fields_ = (
        ("struct_size", c_size_t),
        ("vocab_size", c_uint32),
        ("tok_eos", c_uint32),
        ("token_lens", c_char_p),
        ("token_bytes", c_char_p),
        ("tokenizer_json", c_void_p),
        ("tokenize_assumes_string", c_bool),
        ("tokenize_fn", c_void_p),
        ("use_approximate_greedy_tokenize_fn", c_bool),
        ("tokenize_user_data", c_void_p),
        ("slices", c_void_p),
        ("tok_eos_extra", POINTER(c_uint32)),
        ("tok_eos_extra_count", c_uint32),
    )


class _Limits(Structure):
    """ParserLimits."""

    _fields_ = (
        ("max_items_in_row", c_size_t),
        ("initial_lexer_fuel", c_uint64),
        ("step_lexer_fuel", c_uint64),
        ("step_max_items", c_size_t),
        ("max_lexer_states", c_size_t),
        ("max_grammar_size", c_size_t),
        ("precompute_large_lexemes", c_bool),
        ("verbose_errors", c_bool),
    )


class _ConstraintInit(Structure):
    """LlgConstraintInit, which has no size: ``_prove`` looks whether it is as it was."""

    _fields_ = (
        ("tokenizer", c_void_p),
        ("log_buffer_level", c_uint32),
        ("log_stderr_level", c_uint32),
        ("ff_tokens_ok", c_bool),
        ("backtrack_ok", c_bool),
        ("limits", _Limits),
    )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a model, by their numbers.

    ``lengths``: how many bytes each has, in 32 bits of this machine's order. ``texts``: these bytes, one token's after
    the other's; of one that stands for no text ``CONTROL`` and something that no other has. ``ends``: those that end an
    answer.
    """

    lengths: bytes
    texts: bytes
    ends: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.lengths) // 4


class Tokenizer:
    """A vocabulary that llguidance has read."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Read it, which takes half a second for 150,000 tokens, and 50 MB; other threads run meanwhile.

        Raises NotSupported for another C interface than the one that is known, ValueError for what is no vocabulary.
        """
        self._library = _library()
        lengths, texts, ends = vocabulary.lengths, vocabulary.texts, vocabulary.ends
        if not ends:  # a number that no model gives: the run ends where nothing is allowed
            end = CONTROL + b"end"
            lengths, texts, ends = lengths + struct.pack("=I", len(end)), texts + end, (len(vocabulary),)
        others = (c_uint32 * len(ends[1:]))(*ends[1:])
        init = _TokenizerInit(ctypes.sizeof(_TokenizerInit), len(lengths) // 4, ends[0], lengths, texts)
        init.use_approximate_greedy_tokenize_fn = True  # what must follow is given as a set of tokens, too
        init.tok_eos_extra, init.tok_eos_extra_count = others, len(others)
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        self.pointer = c_void_p(self._library.llg_new_tokenizer_v2(byref(init), error, len(error)))
        if not self.pointer:
            raise ValueError(error.value.decode("utf-8", "replace"))

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self._library.llg_free_tokenizer(self.pointer)


class Matcher:
    """Follows an answer through a grammar, token by token; for one thread at a time."""

    def __init__(self, tokenizer: Tokenizer, grammar: str, limits: LLParserLimits) -> None:
        """``grammar``: as llguidance writes one. After an error there is nothing but ``error``."""
        self._tokenizer = tokenizer
        self._library = tokenizer._library
        init = _ConstraintInit()
        self._library.llg_constraint_init_set_defaults(byref(init), tokenizer.pointer)
        init.log_stderr_level = 0
        for name, *_ in _Limits._fields_:
            setattr(init.limits, name, getattr(limits, name))
        self._pointer = c_void_p(self._library.llg_new_matcher(byref(init), _GRAMMAR, grammar.encode()))

    def __del__(self) -> None:
        if getattr(self, "_pointer", None):
            self._library.llg_free_matcher(self._pointer)

    def compute_mask(self) -> bool:
        """Find out which tokens may be next; return whether that has succeeded."""
        return int(self._library.llg_matcher_compute_mask(self._pointer)) == 0

    def copy_mask(self, address: int, size: int) -> None:
        """Copy the bits of these tokens to ``address``, where there are ``size`` bytes."""
        most = int(self._library.llg_matcher_get_mask_byte_size(self._pointer))
        ctypes.memmove(address, self._library.llg_matcher_get_mask(self._pointer), min(size, most))

    def consume(self, token: int) -> bool:
        """Go on behind a token; return whether it was legal."""
        return int(self._library.llg_matcher_consume_token(self._pointer, token)) == 0

    @property
    def error(self) -> str | None:
        """Return what has gone wrong, in llguidance's words; None if nothing has."""
        said = self._library.llg_matcher_get_error(self._pointer)
        return None if said is None else bytes(said).decode("utf-8", "replace")


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """Return the library with its functions declared. Raises NotSupported."""
    from llguidance import _lib

    library = ctypes.CDLL(_lib.__file__)
    try:
        library.llg_new_tokenizer_v2.argtypes = [POINTER(_TokenizerInit), c_char_p, c_size_t]
        library.llg_new_tokenizer_v2.restype = c_void_p
        library.llg_free_tokenizer.argtypes = [c_void_p]
        library.llg_free_tokenizer.restype = None
        library.llg_constraint_init_set_defaults.argtypes = [c_void_p, c_void_p]
        library.llg_constraint_init_set_defaults.restype = None
        library.llg_new_matcher.argtypes = [POINTER(_ConstraintInit), c_char_p, c_char_p]
        library.llg_new_matcher.restype = c_void_p
        library.llg_free_matcher.argtypes = [c_void_p]
        library.llg_free_matcher.restype = None
        library.llg_matcher_compute_mask.argtypes = [c_void_p]
        library.llg_matcher_compute_mask.restype = c_int
        library.llg_matcher_get_mask.argtypes = [c_void_p]
        library.llg_matcher_get_mask.restype = c_void_p
        library.llg_matcher_get_mask_byte_size.argtypes = [c_void_p]
        library.llg_matcher_get_mask_byte_size.restype = c_size_t
        library.llg_matcher_consume_token.argtypes = [c_void_p, c_uint32]
        library.llg_matcher_consume_token.restype = c_int
        library.llg_matcher_get_error.argtypes = [c_void_p]
        library.llg_matcher_get_error.restype = c_char_p
    except AttributeError as error:
        raise _unknown(str(error)) from None
    _prove(library)
    return library


_MARK: Final = 0xA5
# A struct that has grown is still written within this.
_BEHIND: Final = 512


def _prove(library: ctypes.CDLL) -> None:
    """Raise NotSupported unless the defaults stand where this module expects them, and nothing behind.

    The Python class for limits has the same defaults.
    """
    from llguidance import LLParserLimits

    size = ctypes.sizeof(_ConstraintInit)
    space = (c_ubyte * (size + _BEHIND))(*[_MARK] * (size + _BEHIND))
    library.llg_constraint_init_set_defaults(byref(space), c_void_p(_MARK))
    found, limits = _ConstraintInit.from_buffer(space), LLParserLimits()
    expected = {"tokenizer": _MARK, "log_buffer_level": 0, "ff_tokens_ok": False, "backtrack_ok": False}
    wrong = [name for name, value in expected.items() if getattr(found, name) != value]
    wrong += [name for name, *_ in _Limits._fields_ if getattr(found.limits, name) != getattr(limits, name)]
    wrong += ["its size"] * any(byte != _MARK for byte in space[size:])
    if wrong:
        raise _unknown(f"LlgConstraintInit differs in {', '.join(wrong)}")


def _unknown(why: str) -> NotSupported:
    return NotSupported(
        f"format needs the C functions that llguidance 1.9 has, and the installed one has others ({why}): install that "
        'version, or set format_by = "pauses".',
        needs="llguidance 1.9",
    )
