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


def test_two_of_one_name_are_told_apart() -> None:
    twice = status((1, None, "/a/x.rkllm"), (2, None, "/b/x.rkllm"))
    assert [item.name for item in models.served(twice)] == ["x", "x#2"]
    assert models.choose(twice, "x#2").handle == 2


def test_without_a_name_the_only_one_is_meant() -> None:
    assert models.choose(status((7, None, "/m/x.rkllm")), None).handle == 7


@pytest.mark.parametrize(
    ("shown", "name", "code", "says"),
    [
        (TWO, None, 400, "model is missing: name one of those that are loaded (demo, qwen3-1.7b)."),
        (TWO, "gpt-4", 404, "There is no model gpt-4: choose one of those that are loaded (demo, qwen3-1.7b)."),
        (TWO, "large", 404, "The model large is declared and not loaded"),
        (status(), "demo", 503, "No model is loaded"),
    ],
)
def test_a_name_that_means_none_is_refused(shown: dict[str, Any], name: str | None, code: int, says: str) -> None:
    with pytest.raises(Failure) as refused:
        models.choose(shown, name)
    assert refused.value.status == code
    assert refused.value.message.startswith(says)
