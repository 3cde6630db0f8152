"""What all of Anthropic's answers have in common."""

from __future__ import annotations

from rkllmd.gateway.anthropic import shape
from rkllmd.gateway.failures import Failure


def test_an_error_names_the_field_in_its_message() -> None:
    said = shape.error_body(Failure(400, "InvalidParams", "must be smaller.", "temperature"))
    assert said == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "temperature: must be smaller."},
    }
    said = shape.error_body(Failure(400, "InvalidParams", "model is missing.", "model"))
    assert said["error"]["message"] == "model is missing."
    assert shape.error_body(Failure(500, "RuntimeError", "It broke."))["error"]["type"] == "api_error"


def test_tokens_that_were_not_read_anew_are_counted_apart() -> None:
    result = {"prompt_tokens": 12, "cached_tokens": 8, "perf": {"generate_tokens": 3}}
    assert shape.usage(result) == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 8,
        "output_tokens": 3,
    }
