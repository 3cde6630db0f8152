"""How likely tokens were, as OpenAI's completions have it: a list for each member, not an object for each token."""

from __future__ import annotations

import codecs

from rkllmd.json_types import Json, JsonObject


class Lists:
    """Those of one answer, in whose text each token has a place (``text_offset``, in characters)."""

    def __init__(self) -> None:
        """Begin at the beginning of the text."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def of(self, tokens: list[JsonObject]) -> JsonObject | None:
        """Return what there is to be told of the next tokens, as the daemon has them; None for none."""
        if not tokens:
            return None
        found: dict[str, list[Json]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            found["tokens"].append(token["token"])
            found["token_logprobs"].append(token["logprob"])
            # Of several with one text, the likeliest; the chosen one is always among them.
            likeliest: dict[str, float] = {}
            for other in (*token["top_logprobs"], token):
                likeliest.setdefault(other["token"], other["logprob"])
            found["top_logprobs"].append(likeliest)
            found["text_offset"].append(self._offset)
            self._offset += len(self._decoder.decode(bytes(token["bytes"])))
        return dict(found)
