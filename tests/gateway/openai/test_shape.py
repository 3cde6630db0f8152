"""Errors and models in OpenAI's shape."""

from __future__ import annotations

import pytest

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.openai import shape


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (Failure(400, "InvalidParams", "No.", "n"), "invalid_request_error", "InvalidParams"),
        (Failure(400, "ContextLengthExceeded", "No.", "messages"), "invalid_request_error", "context_length_exceeded"),
        (Failure(404, "ModelNotInitialized", "No.", "model"), "not_found_error", "model_not_found"),
        (Failure(404, "NotFound", "No."), "not_found_error", "NotFound"),
        (Failure(429, "QueueFull", "No."), "rate_limit_error", "rate_limit_exceeded"),
        (Failure(500, "RuntimeError", "No."), "server_error", "RuntimeError"),
    ],
)
def test_errors_have_a_type_and_a_code(failure: Failure, kind: str, code: str) -> None:
    shown = shape.error_body(failure)["error"]
    assert shown == {"message": "No.", "type": kind, "param": failure.param, "code": code}


def test_models_say_how_long_their_context_is() -> None:
    [shown] = shape.model_list([ServedModel("demo", 1, 4096, None, 5, is_asleep=True)])["data"]
    assert (shown["id"], shown["max_model_len"], shown["meta"]["n_ctx"]) == ("demo", 4096, 4096)
    assert shown["status"] == {"value": "sleeping"}
    props = shape.props({"versions": {"daemon": "1.0"}}, ServedModel("demo", 1, 4096))
    assert (props["default_generation_settings"]["n_ctx"], props["is_sleeping"]) == (4096, False)


@pytest.mark.parametrize(("thinks", "shown"), [(True, True), (None, True), (False, False)])
def test_models_say_whether_they_think(thinks: bool | None, shown: bool) -> None:
    model = ServedModel("demo", 1, thinks=thinks)
    assert ("thinking" in shape.model_entry(model)["capabilities"]) is shown
    caps = shape.props({"versions": {"daemon": "1.0"}}, model)["chat_template_caps"]
    assert caps["supports_enable_thinking"] is caps["supports_preserve_reasoning"] is shown
