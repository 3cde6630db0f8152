"""Which model is meant by a name."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.gateway import models
from rkllmd.gateway.failures import Failure
from tests.gateway.statuses import TWO, status


@pytest.mark.parametrize(("name", "handle"), [("demo", 1), ("demo:latest", 1), ("qwen3-1.7b", 2)])
def test_a_name_is_that_of_the_configuration_or_of_the_file(name: str, handle: int) -> None:
    assert models.choose(TWO, name).handle == handle


def test_a_model_is_found_loaded_or_not() -> None:
    assert models.find(TWO, "large").handle is None
    assert models.find(status(declared=("a",)), None).name == "a"
    for name, code in ((None, 400), ("other", 404)):
        with pytest.raises(Failure) as refused:
            models.find(TWO, name)
        assert (refused.value.status, refused.value.param) == (code, "model")


def test_two_of_one_name_are_told_apart() -> None:
    twice = status((1, None, "/a/x.rkllm"), (2, None, "/b/x.rkllm"))
    assert [item.name for item in models.served(twice)] == ["x", "x#2"]
    assert models.choose(twice, "x#2").handle == 2


def test_a_file_of_the_same_name_is_not_taken_for_one_of_the_configuration() -> None:
    foreign, own = (1, None, "/home/x/large.gguf"), (2, "large", "/m/large.gguf")
    beside = status(foreign, own, declared=("large",))
    assert [item.name for item in models.served(beside)] == ["large#1", "large"]
    alone = status(foreign, declared=("large",), swap=True)
    assert [(item.name, item.handle) for item in models.listed(alone)] == [("large#1", 1), ("large", None)]
    assert models.choose(alone, "large").handle is None, "its own file is loaded"
    the_same = status((1, None, "/m/large.gguf"), declared=("large",))
    assert [item.name for item in models.listed(the_same)] == ["large"]


def test_without_a_name_the_only_one_is_meant() -> None:
    only = status((7, None, "/m/x.rkllm"))
    for name in (None, ""):
        assert models.choose(only, name).handle == models.find(only, name).handle == 7
    with pytest.raises(Failure, match="model is missing"):
        models.choose(TWO, "")


@pytest.mark.parametrize(
    ("shown", "name", "code", "says"),
    [
        (TWO, None, 400, "model is missing: name one of those that are served (demo, qwen3-1.7b)."),
        (TWO, "gpt-4", 404, "There is no model gpt-4: choose one of those that are served (demo, qwen3-1.7b)."),
        (TWO, "large", 404, "The model large is declared and not loaded"),
        (status(), "demo", 503, "No model is loaded"),
    ],
)
def test_a_name_that_means_none_is_refused(shown: dict[str, Any], name: str | None, code: int, says: str) -> None:
    with pytest.raises(Failure) as refused:
        models.choose(shown, name)
    assert refused.value.status == code
    assert refused.value.message.startswith(says)


def test_what_is_declared_is_listed_and_served_where_it_may_be_swapped_in() -> None:
    shown = status((1, "demo", "/m/demo.gguf"), declared=("demo", "large"), swap=True)
    assert [(item.name, item.state) for item in models.listed(shown)] == [("demo", "loaded"), ("large", "unloaded")]
    assert models.choose(shown, "large:latest").handle is None
    assert models.choose(shown, None).name == "demo", "the only one that is loaded"
    assert [item.name for item in models.callable_now(TWO)] == ["demo", "qwen3-1.7b"]
    assert [item.name for item in models.listed(TWO)] == ["demo", "qwen3-1.7b", "large"]
    assert models.choose(status(declared=("a",), swap=True), None).name == "a"


def test_a_model_that_is_being_loaded_says_so() -> None:
    shown = status((1, "demo", "/m/demo.gguf"), declared=("large",), asleep=(1,), working_on="/m/large.gguf")
    assert [item.state for item in models.listed(shown)] == ["sleeping", "loading"]
    wakes = status((1, None, "/m/demo.gguf"), asleep=(1,), working_on="/m/demo.gguf")
    runs = status((1, None, "/m/demo.gguf"), working_on="/m/demo.gguf")
    assert [models.listed(item)[0].state for item in (wakes, runs)] == ["loading", "loaded"]
