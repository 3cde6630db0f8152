"""Errors and models in OpenAI's shape."""

from __future__ import annotations

import pytest

from rkllmd.gateway.failures import TOO_LONG, Excess, Failure
from rkllmd.gateway.models import ServedModel
from rkllmd.gateway.openai import shape

VERSIONS = {"versions": {"daemon": "1.0"}}


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (Failure(400, "InvalidParams", "No.", "n"), "invalid_request_error", "InvalidParams"),
        (Failure(404, "ModelNotInitialized", "No.", "model"), "not_found_error", "model_not_found"),
        (Failure(404, "NotFound", "No."), "not_found_error", "NotFound"),
        (Failure(429, "QueueFull", "No."), "rate_limit_error", "rate_limit_exceeded"),
        (Failure(500, "RuntimeError", "No."), "server_error", "RuntimeError"),
    ],
)
def test_errors_have_a_type_and_a_code(failure: Failure, kind: str, code: str) -> None:
    shown = shape.error_body(failure)["error"]
    assert shown == {"message": "No.", "type": kind, "param": failure.param, "code": code}


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_clients_look_for() -> None:
    shown = shape.error_body(Failure(400, TOO_LONG, "Shorten it.", "messages", excess=Excess(None, 4096)))["error"]
    assert shown["message"] == "This model's maximum context length is 4096 tokens. Shorten it."
    assert (shown["type"], shown["code"]) == ("invalid_request_error", "context_length_exceeded")


def test_models_say_how_long_their_context_is() -> None:
    [shown] = shape.model_list([ServedModel("demo", 1, 4096, None, 5, is_asleep=True)])["data"]
    assert (shown["id"], shown["max_model_len"], shown["meta"]["n_ctx"]) == ("demo", 4096, 4096)
    assert shown["status"] == {"value": "sleeping"}


def test_props_are_those_of_llama_cpps_server() -> None:
    whole = {
        "template": "{{ messages }}",
        "bos_token": None,
        "eos_token": "</s>",
        "max_new_tokens": 256,
        "sampling_params": {"top_k": 1, "temperature": 0.5},
    }
    props = shape.props(VERSIONS, ServedModel("demo", 1, 4096, n_batch=3, vision={"width": 8}), whole)
    params = {"top_k": 1, "temperature": 0.5, "n_predict": 256}
    assert props["default_generation_settings"] == {"n_ctx": 4096, "params": params}
    assert (props["chat_template"], props["bos_token"], props["eos_token"]) == ("{{ messages }}", "", "</s>")
    assert (props["total_slots"], props["modalities"]) == (3, {"vision": True, "audio": False})
    assert (props["model_alias"], props["is_sleeping"]) == ("demo", False)
    unlimited = shape.props(VERSIONS, ServedModel("demo", 1), {**whole, "max_new_tokens": None})
    assert unlimited["default_generation_settings"]["params"]["n_predict"] == -1


def test_props_of_a_model_that_is_not_loaded_say_what_is_declared() -> None:
    props = shape.props(VERSIONS, ServedModel("demo", None, swap=True), None)
    assert props["default_generation_settings"] == {"n_ctx": None, "params": {}}
    assert (props["chat_template"], props["bos_token"], props["is_sleeping"]) == ("", "", True)


@pytest.mark.parametrize(("thinks", "shown"), [(True, True), (None, True), (False, False)])
def test_models_say_whether_they_think(thinks: bool | None, shown: bool) -> None:
    model = ServedModel("demo", 1, thinks=thinks)
    assert ("thinking" in shape.model_entry(model)["capabilities"]) is shown
    caps = shape.props(VERSIONS, model, None)["chat_template_caps"]
    assert caps["supports_enable_thinking"] is caps["supports_preserve_reasoning"] is shown
