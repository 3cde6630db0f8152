"""A schema as llguidance knows it: what it makes of one, within limits, and what is said where it is not installed.

The package is an extra (``[guided]``) and is only imported by the first run that needs it. It works on bytes here:
each byte is a token, so that no model's tokenizer is needed.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rkllmd.abi.llguidance import Matcher, Tokenizer
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.json_types import Json, JsonObject
from rkllmd.requirements import install_command

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer
    from llguidance._lib import JsonCompileOptions

# Between two parts there may be a line break and spaces, and no more: a model that writes only spaces would never end.
_OPTIONS: Final[JsonCompileOptions] = {
    "whitespace_pattern": r"\x20|\x0A\x20{0,16}",
    # Without \u: half a character (a lone surrogate) could be written by it.
    "json_allowed_escapes": 'nrbtf\\"',
}


_SYNTAX: Final = b"\\^$.|?*+()[]{}"


class Grammar:
    """What a rewritten schema (schema/schemas.py) allows; ``matcher`` follows an answer through it."""

    def __init__(self, schema: JsonObject, path: str = "$.format") -> None:
        """Take about a millisecond, and more for a large schema: not on the event loop.

        Raises InvalidParams for a schema that can't be guaranteed, NotSupported without llguidance.
        """
        from llguidance import LLMatcher

        self._source = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_OPTIONS)
        self._path = path
        # The characters of its regular expressions, which strings may need.
        self.hints = bytes(byte for byte in dict.fromkeys("".join(_patterns(schema)).encode()) if byte not in _SYNTAX)
        self._read(byte_tokenizer())

    def on_bytes(self) -> LLMatcher:
        """Return a matcher at the beginning of an answer, whose tokens are bytes.

        It is made anew: copies share what llguidance has found out so far, up to a limit at which all of them fail.
        """
        return self._read(byte_tokenizer())

    def on_tokens(self, tokenizer: Tokenizer) -> Matcher:
        """Return a matcher at the beginning of an answer made of the tokens of a model. Raises InvalidParams."""
        matcher = Matcher(tokenizer, self._source, _limits())
        if not matcher.compute_mask():
            raise self._refusal(matcher.error or "")
        return matcher

    def _read(self, tokenizer: LLTokenizer) -> LLMatcher:
        from llguidance import LLMatcher

        matcher = LLMatcher(tokenizer, self._source, log_level=0, limits=_limits())
        matcher.compute_bitmask()  # some find out only now that there is too much to look at
        if matcher.is_error():
            raise self._refusal(matcher.get_error())
        return matcher

    def _refusal(self, error: str) -> InvalidParams:
        keyword, reason = _reason(error)
        return InvalidParams(f"format: the schema can't be guaranteed: {reason}.", path=self._path, keyword=keyword)


def free_after(openings: Sequence[str], tokenizer: Tokenizer) -> Matcher:
    """Return a matcher of answers that begin with one of these, after which anything may follow."""
    begins = " | ".join(json.dumps(opening, ensure_ascii=False) for opening in openings)
    grammar = f"start: ({begins}) REST\nREST: /(?s:.*)/"
    return Matcher(tokenizer, json.dumps({"grammars": [{"lark_grammar": grammar}]}), _limits())


def _patterns(schema: Json) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _patterns(item)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            if keyword == "pattern" and isinstance(value, str):
                yield value
            yield from _patterns(value)


def check_installed() -> None:
    """Raise NotSupported, with the command that helps, where llguidance is missing."""
    # It is imported on the worker thread: that takes too long for the event loop.
    if "llguidance" not in sys.modules and importlib.util.find_spec("llguidance") is None:
        raise NotSupported(
            f"format needs llguidance on the daemon's machine: {install_command('llguidance')}", needs="llguidance"
        )


@lru_cache(maxsize=1)
def byte_tokenizer() -> LLTokenizer:
    """Return the tokenizer whose token n is the byte n."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte", slices=[])


@lru_cache(maxsize=1)
def _limits() -> LLParserLimits:
    """Return what one step of reading a schema or judging a token may take: some ten milliseconds each, and 150 MB."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=500_000,
        step_lexer_fuel=200_000,
        step_max_items=20_000,
        max_lexer_states=100_000,
        max_grammar_size=50_000,
        precompute_large_lexemes=False,
        verbose_errors=False,
    )


# What llguidance's words begin with, the keyword that they are about, and what they mean to a client.
_REASONS: Final = (
    ("oneOf", "oneOf", "an answer may fit several schemas of a oneOf; use anyOf"),
    ("min/maxProperties", "minProperties", "minProperties and maxProperties need all properties to be required"),
    ("patternProperty", "patternProperties", "the regular expressions of patternProperties may fit the same name"),
    ("NoExtension", "format", "no answer fits it"),
)


def _reason(error: str) -> tuple[str, str]:
    """Return the keyword that llguidance could not take, and why, in the first line of its words."""
    said = error.strip().partition("\n")[0].strip()[:200].rstrip(".")
    for beginning, keyword, reason in _REASONS:
        if said.startswith(beginning):
            return keyword, reason
    return "format", said or "no answer fits it"
