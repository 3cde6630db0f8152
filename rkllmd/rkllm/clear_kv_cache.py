"""rkllm_clear_kv_cache: forget the conversation, or ranges of it.

C: int rkllm_clear_kv_cache(LLMHandle handle, int keep_system_prompt, int *start_pos, int *end_pos)

Without positions the whole cache is cleared, except for the system prompt if ``keep_system_prompt``. Ranges are
``[start, end)`` for each batch entry; they override ``keep_system_prompt`` and are valid only with ``keep_history`` 0
while the run is paused (manual 1.3.0). The runtime reads one range for each of the model's batch entries; a client may
send more, so that one script serves models with different n_batch.
"""

from __future__ import annotations

from rkllmd.abi.c import c_int
from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM

_FLAG = {"enum": [0, 1, True, False], "description": "1: keep the system prompt", "default": 1}
_POSITIONS = {
    "type": ["array", "null"],
    "items": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
    "minItems": 1,
    "maxItems": 255,
    "description": "one position for each batch entry",
}


def _check(
    language: Language,
    invocation: Invocation,
    model: Model,
    start_pos: list[int] | None = None,
    end_pos: list[int] | None = None,
    **_: object,
) -> None:
    conversations.check_end(language, invocation, model)
    if start_pos is None and end_pos is None:
        return
    if start_pos is None or end_pos is None:
        missing = "end_pos" if end_pos is None else "start_pos"
        raise InvalidParams("start_pos and end_pos go together.", path=f"$.{missing}", keyword="required")
    if len(start_pos) < model.n_batch:
        raise InvalidParams(
            f"start_pos needs a position for each of the model's {model.n_batch} batch entries.",
            path="$.start_pos",
            keyword="minItems",
            limit=model.n_batch,
        )
    if len(end_pos) != len(start_pos):
        raise InvalidParams(
            f"end_pos needs as many positions as start_pos, {len(start_pos)}.",
            path="$.end_pos",
            keyword="minItems" if len(end_pos) < len(start_pos) else "maxItems",
            limit=len(start_pos),
        )
    for index, (start, end) in enumerate(zip(start_pos, end_pos, strict=True)):
        if end < start:
            raise InvalidParams(
                f"A range ends before it starts: end_pos[{index}] must be at least {int(start)}.",
                path=f"$.end_pos[{index}]",
                keyword="minimum",
                limit=int(start),
            )


@method(
    Kind.ORDERED,
    [
        LLM,
        Value("keep_system_prompt", _FLAG, required=False),
        Value("start_pos", _POSITIONS, required=False),
        Value("end_pos", _POSITIONS, required=False),
    ],
    check=_check,
)
def clear_kv_cache(
    language: Language,
    invocation: Invocation,
    model: Model,
    keep_system_prompt: int = 1,
    start_pos: list[int] | None = None,
    end_pos: list[int] | None = None,
) -> JsonObject:
    """Clear the cache, or the given ranges of it."""
    conversations.check_end(language, invocation, model)  # again: it may be another one by now
    # JSON's integers include 1.0.
    start, end = (None if given is None else (c_int * len(given))(*map(int, given)) for given in (start_pos, end_pos))
    language.runtime.call("rkllm_clear_kv_cache", model.pointer, int(keep_system_prompt), start, end)
    language.runtime.remember_kv_cache_sizes(model)
    by, kv_cache = invocation.client.number, model.kv_cache
    loser = kv_cache.clear(by) if start is None else kv_cache.clear_part(by)
    conversations.log_change(language, invocation, model, loser)
    return success()
