"""Whether a regular expression of a schema is found in a text, in a time that grows with the text only.

Python's own engine goes back: ``(a+)+b|c`` in 40 letters takes hours, and it holds the lock of all threads meanwhile.
llguidance's does not. It is the engine that guides answers too; here it sees one expression and one text by themselves.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rkllmd.errors import InvalidParams
from rkllmd.language.guided.grammar import Grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher

_KEPT: Final = 16


def is_found(pattern: str, text: str) -> bool | None:
    """Return whether ``pattern`` is found in ``text``; None where that is too much for the judge."""
    data = list(json.dumps(text, ensure_ascii=False).encode())
    try:
        for _ in range(2):
            matcher = _beginning(pattern).deep_copy()
            taken = matcher.try_consume_tokens(data)
            if not matcher.is_error():
                return bool(taken == len(data) and matcher.is_accepting())
            _beginning.cache_clear()  # copies share what was found out so far, up to a limit at which all of them fail
    except InvalidParams:
        pass
    return None


@lru_cache(maxsize=_KEPT)
def _beginning(pattern: str) -> LLMatcher:
    return Grammar({"type": "string", "pattern": pattern}).on_bytes()
