"""Models as Ollama's clients want them."""

from __future__ import annotations

import pytest

from rkllmd.gateway.failures import TOO_LONG, Excess, Failure
from rkllmd.gateway.fields import WrongField
from rkllmd.gateway.ollama import shape
from tests.gateway.statuses import TWO, status


def test_models_are_listed_by_their_names() -> None:
    assert [(item["name"], item["model"]) for item in shape.tags(TWO)["models"]] == [
        ("demo", "demo"),
        ("qwen3-1.7b", "qwen3-1.7b"),
        ("large", "large"),
    ]


def test_models_that_sleep_do_not_run() -> None:
    first, second = TWO["models"]
    shown = shape.running({**TWO, "models": [first, {**second, "state": "asleep"}]})["models"]
    assert [(item["name"], item["context_length"]) for item in shown] == [("demo", 4096)]


@pytest.mark.parametrize("body", [{"model": "demo"}, {"name": "demo:latest", "verbose": True}])
def test_a_model_is_shown(body: dict[str, object]) -> None:
    shown = shape.shown(TWO, body)
    assert shown["model_info"]["rkllm.context_length"] == 4096
    assert shown["capabilities"] == ["completion", "tools", "thinking"]


def test_what_has_no_place_for_thoughts_does_not_think() -> None:
    first, second = TWO["models"]
    shown = shape.shown({**TWO, "models": [{**first, "thinking": False}, second]}, {"model": "demo"})
    assert shown["capabilities"] == ["completion", "tools"]


@pytest.mark.parametrize("infill", [True, False, None])
def test_editors_are_offered_what_can_fill_in_gaps(infill: bool | None) -> None:
    first, second = TWO["models"]
    shown = shape.shown({**TWO, "models": [{**first, "infill": infill}, second]}, {"model": "demo"})
    # What Continue and Ollama's own clients look for.
    assert (".Suffix" in shown["template"]) is ("insert" in shown["capabilities"]) is (infill is True)


def test_a_model_for_embeddings_says_so() -> None:
    first, second = TWO["models"]
    shown = shape.shown({**TWO, "models": [{**first, "pooling": "mean"}, second]}, {"model": "demo"})
    assert shown["capabilities"] == ["embedding"]


def test_a_model_that_sees_says_so_before_it_is_loaded_too() -> None:
    known = status((1, "demo", "/m/demo.gguf"), declared=("large",), swap=True)
    for model in (*known["models"], *known["declared_models"]):
        model["vision"] = {"width": 48, "height": 48, "fit": "pad"}
    for name in ("demo", "large"):
        assert shape.shown(known, {"model": name})["capabilities"] == ["completion", "tools", "thinking", "vision"]


def test_another_model_and_another_field_are_refused() -> None:
    with pytest.raises(Failure):
        shape.shown(TWO, {"model": "other"})
    with pytest.raises(WrongField):
        shape.shown(TWO, {"model": "demo", "modl": "x"})


def test_times_are_utc() -> None:
    assert shape.now().endswith("Z")


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_clients_look_for() -> None:
    failure = Failure(400, TOO_LONG, "shorten it.", "messages", excess=Excess(5000, 4096))
    assert shape.error_body(failure) == {"error": "the input length exceeds the context length: shorten it."}
    assert shape.error_body(Failure(400, "InvalidParams", "No.")) == {"error": "No."}
