"""The values of ``format`` that are kept: as the judge knows them, and where it knows too many, as a pattern."""

from __future__ import annotations

from typing import Final

from rkllmd.json_types import JsonObject

# Days that each year has, and seconds that each minute has; of letters those that everybody reads.
_DATE: Final = (
    "([1-9][0-9]{3}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|[1-9][0-9]{3}-(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|[1-9][0-9]{3}-02-(0[1-9]|1[0-9]|2[0-8]))"
)
_TIME: Final = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+\\-]([01][0-9]|2[0-3]):[0-5][0-9])"
PATTERNS: Final = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
}
# A name that is longer than this is none.
_LONGEST_HOSTNAME: Final = 253
KNOWN: Final = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
# What JSON Schema defines besides. Any other name says nothing of an answer (Pydantic's binary, Home Assistant's RGB).
NOT_KEPT: Final = frozenset(
    (
        *("idn-email", "idn-hostname", "iri", "iri-reference", "json-pointer", "regex", "relative-json-pointer"),
        *("uri-reference", "uri-template"),
    )
)


def with_patterns(schema: JsonObject) -> None:
    """Replace a format by its pattern, if it has one."""
    name = schema.get("format")
    if name == "hostname":
        schema["maxLength"] = min(schema.get("maxLength", _LONGEST_HOSTNAME), _LONGEST_HOSTNAME)
    pattern = PATTERNS.get(name) if isinstance(name, str) else None
    if pattern is None:
        return
    del schema["format"]
    if "pattern" in schema:
        schema["allOf"] = [*schema.get("allOf", ()), {"pattern": pattern}]
    else:
        schema["pattern"] = pattern
