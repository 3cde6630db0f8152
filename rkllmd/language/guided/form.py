"""The form that a run's answer must have (``format``): what was asked for, what is legal, and whether it was kept.

It is made when the request comes, which checks the schema; the judge reads it later, on the worker thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Self

from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject
from rkllmd.language.guided import calls
from rkllmd.language.guided.corrections import Corrections
from rkllmd.language.guided.grammar import Grammar, check_installed
from rkllmd.language.guided.judge import Judge
from rkllmd.language.guided.schema import schemas
from rkllmd.language.guided.tokens import TokenGuide

# Many runs ask for the same form; reading a large one takes tens of milliseconds.
_KEPT_GRAMMARS: Final = 16


class Form:
    """What the answer of one run must be."""

    def __init__(
        self, schema: JsonObject, rewritten: JsonObject, *, is_call: bool = False, may_be_call: bool = False
    ) -> None:
        """``rewritten`` is what the judge is told of the schema.

        ``is_call``: the answer is the call of a function; ``may_be_call``: it may be calls instead, as without a form.
        """
        self.schema = schema
        self.is_call = is_call
        self.may_be_call = may_be_call
        # With what calls begin in the words of the model, which is known when it was told of the functions.
        self.openings: Sequence[str] = ()
        self._rewritten = json.dumps(rewritten)
        # What guides the runtime through one run of it, and what C calls for that.
        self.guide: TokenGuide | None = None
        self.keep_alive: object = None
        # What is done where the runtime can't be guided, and says something illegal.
        self.corrections: Corrections | None = None

    @classmethod
    def of(cls, asked: Json, tools: Sequence[JsonObject] | None = None, choice: Json = None) -> Self | None:
        """Return the form that a run asks for by ``format`` or ``tool_choice``, None if it asks for none.

        ``asked`` is "json" for any JSON object, or a JSON Schema, of an answer that is no call. Raises InvalidParams,
        NotSupported.
        """
        call = calls.form_of(tools, choice)
        if asked is None and call is None:
            return None
        check_installed()
        schema: JsonObject = asked if isinstance(asked, dict) else schemas.JSON_OBJECT
        rewritten = schemas.rewrite(schema)
        if call is not None:
            return cls(*call, is_call=True)
        return cls(schema, rewritten, may_be_call=bool(tools) and choice != "none")

    def grammar(self) -> Grammar:
        """Return what is legal; not on the event loop. Raises InvalidParams for what can't be guaranteed."""
        return _grammar(self._rewritten)

    def has_begun_call(self, text: str) -> bool:
        """Return whether an answer is calls, which have no form."""
        return text.lstrip().startswith(tuple(self.openings))

    def rest(self, text: str) -> str | None:
        """Return what must follow for the answer ``text`` to be whole; None if it can't become that."""
        judge = Judge(self.grammar())
        data = text.encode()
        if judge.accept(data) < len(data):
            return None
        end = judge.shortest_end()
        return None if end is None else end.decode()

    def fault(self, text: str) -> str | None:
        """Return what is wrong with a whole answer by another judge than the one that guided it, or None."""
        from rkllmd.language.guided.checking import fault  # jsonschema takes 3 MB, and a tenth of the daemon's start

        return fault(text, self.schema)


@lru_cache(maxsize=_KEPT_GRAMMARS)
def _grammar(rewritten: str) -> Grammar:
    grammar = Grammar(json.loads(rewritten))
    if Judge(grammar).shortest_end() is None:
        raise InvalidParams(
            "format: no answer of at most 3000 bytes is known that fits the schema.",
            path="$.format",
            keyword="format",
        )
    return grammar
