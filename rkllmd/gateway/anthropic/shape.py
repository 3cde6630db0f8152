"""What all of Anthropic's answers have in common: errors, and how tokens are counted."""

from __future__ import annotations

from typing import Final

from rkllmd.gateway.anthropic.threads import CODES
from rkllmd.gateway.failures import Excess, Failure
from rkllmd.gateway.run import cached_tokens, generated_tokens, prompt_tokens
from rkllmd.json_types import JsonObject

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(failure: Failure) -> JsonObject:
    """Return a failure as Anthropic has it; there the message is all that names a field."""
    message, field = failure.message, failure.param
    if field is not None and field not in message:
        message = f"{field}: {message}"
    if failure.excess is not None:
        message = f"prompt is too long{_counted(failure.excess)}: {message}"
    error: JsonObject = {"type": _TYPES.get(failure.status, "api_error"), "message": message}
    if (code := CODES.get(failure.kind)) is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error}


def _counted(excess: Excess) -> str:
    return "" if excess.tokens is None else f": {excess.tokens} tokens > {excess.most} maximum"


def usage(result: JsonObject) -> JsonObject:
    """Return how many tokens a run took: of the conversation what was read anew and what was not, and of the answer."""
    cached = cached_tokens(result)
    return {
        "input_tokens": prompt_tokens(result) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": generated_tokens(result),
    }
