"""The numbers of a schema, where readers of an answer round them: most hold numbers in 64 bits (IEEE 754)."""

from __future__ import annotations

from typing import Final

from rkllmd.errors import InvalidParams
from rkllmd.json_types import Json, JsonObject

# Up to here each whole number is one of its own (2**53).
_LARGEST: Final = 9_007_199_254_740_992
# The judge takes a tenth of a millisecond for each unit, a model's whole vocabulary several times that: 7919 took it
# five seconds, in which nothing else runs.
LARGEST_DIVISOR: Final = 1000
# An answer may have more digits than a reader keeps: one that is less than this away from an open end may become it.
_STEP: Final = 1e-9


def _wrong(where: str, keyword: str, why: str) -> InvalidParams:
    return InvalidParams(f"{where.removeprefix('$.')}: {why}", path=where, keyword=keyword)


def check(value: Json, where: str) -> Json:
    """Return a number that everybody reads as the same one. Raises InvalidParams."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, "type", "a number.")
    if abs(value) > _LARGEST:
        raise InvalidParams(
            f"{where.removeprefix('$.')}: at most 2**53, beyond which numbers are rounded.",
            path=where,
            keyword="maximum",
            limit=_LARGEST,
        )
    return value


def check_divisor(value: Json, where: str) -> int:
    """Return the number of a multipleOf that can be guaranteed. Raises InvalidParams."""
    check(value, where)
    # 0.3 is a multiple of 0.1 for people, and none for those who divide it.
    if value != int(value) or not 0 < value <= LARGEST_DIVISOR:
        raise _wrong(where, "multipleOf", f"only a whole number from 1 to {LARGEST_DIVISOR} can be guaranteed.")
    return int(value)


def without_open_ends(schema: JsonObject, path: str) -> None:
    """Replace exclusiveMinimum and exclusiveMaximum where numbers need not be whole ones. Raises InvalidParams."""
    types = schema.get("type", "number")
    whole = "number" not in (types if isinstance(types, list) else [types]) or "multipleOf" in schema
    if whole:
        return
    low, high = schema.pop("exclusiveMinimum", None), schema.pop("exclusiveMaximum", None)
    if low is not None:
        schema["minimum"] = max(_beside(low, 1), schema.get("minimum", -_LARGEST))
    if high is not None:
        schema["maximum"] = min(_beside(high, -1), schema.get("maximum", _LARGEST))
    if (low is not None or high is not None) and schema.get("minimum", -_LARGEST) > schema.get("maximum", _LARGEST):
        raise _wrong(path, "exclusiveMinimum", "numbers between these limits can't be told from them.")


def _beside(end: float, direction: int) -> float:
    """Return a number near an open end that no reader takes for it."""
    return float(end + direction * max(abs(end) * _STEP, _STEP))
