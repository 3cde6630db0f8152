"""What all of Anthropic's answers have in common."""

from __future__ import annotations

import pytest

from rkllmd.gateway.anthropic import shape
from rkllmd.gateway.failures import TOO_LONG, Excess, Failure


def test_an_error_names_the_field_in_its_message() -> None:
    said = shape.error_body(Failure(400, "InvalidParams", "must be smaller.", "temperature"))
    assert said == {
        "type": "error",
        "error": {"type": "invalid_request_error", "message": "temperature: must be smaller."},
    }
    said = shape.error_body(Failure(400, "InvalidParams", "model is missing.", "model"))
    assert said["error"]["message"] == "model is missing."
    assert shape.error_body(Failure(500, "RuntimeError", "It broke."))["error"]["type"] == "api_error"


@pytest.mark.parametrize(
    ("tokens", "said"), [(5000, "prompt is too long: 5000 tokens > 4096 maximum: "), (None, "prompt is too long: ")]
)
def test_a_prompt_that_is_too_long_is_said_in_the_words_that_clients_look_for(tokens: int | None, said: str) -> None:
    failure = Failure(400, TOO_LONG, "messages: shorten them.", "messages", excess=Excess(tokens, 4096))
    assert shape.error_body(failure)["error"]["message"] == f"{said}messages: shorten them."


def test_tokens_that_were_not_read_anew_are_counted_apart() -> None:
    result = {"prompt_tokens": 12, "cached_tokens": 8, "perf": {"generate_tokens": 3}}
    assert shape.usage(result) == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 8,
        "output_tokens": 3,
    }
