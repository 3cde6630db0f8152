"""Counters and histograms, and that their families are what OpenMetrics allows."""

from __future__ import annotations

import pytest

from rkllmd.metrics import MOST_NAMES, OTHER, Counter, Histogram, Metrics, Names
from tests.openmetrics import check_families


def test_what_is_counted_can_be_rendered_as_openmetrics() -> None:
    metrics = Metrics()
    metrics.calls.add("rkllm.run", "ok")
    metrics.waits.observe(0.2)
    for counter in (metrics.generated_tokens, metrics.prompt_tokens, metrics.cached_tokens):
        counter.add("model")
    for histogram in (metrics.first_tokens, metrics.speeds, metrics.loads):
        histogram.observe(1.0, "model")
    families = metrics.describe()
    assert all(item["samples"] for item in families), "each is filled here"
    assert len(families) == len(vars(metrics)) - 1, "and each is shown"
    check_families(families)


def test_a_counter_has_a_value_for_each_set_of_labels() -> None:
    counter = Counter("x", "X.", ("method", "outcome"))
    counter.add("b", "ok")
    counter.add("a", "ok", by=3)
    counter.add("b", "ok")
    assert counter.describe() == {
        "name": "x",
        "type": "counter",
        "unit": "",
        "help": "X.",
        "samples": [
            {"labels": {"method": "a", "outcome": "ok"}, "value": 3},
            {"labels": {"method": "b", "outcome": "ok"}, "value": 2},
        ],
    }


@pytest.mark.parametrize(
    ("value", "below"), [(0.0, [1, 1]), (1.0, [1, 1]), (1.5, [0, 1]), (2.0, [0, 1]), (2.1, [0, 0]), (1e9, [0, 0])]
)
def test_an_observation_is_in_each_bucket_that_reaches_so_far(value: float, below: list[int]) -> None:
    histogram = Histogram("x_seconds", "X.", (1.0, 2.0), unit="seconds")
    histogram.observe(value)
    (sample,) = histogram.describe()["samples"]
    assert [bucket["count"] for bucket in sample["value"]["buckets"]] == below
    assert (sample["value"]["count"], sample["value"]["sum"]) == (1, value)


def test_observations_of_different_labels_are_apart() -> None:
    histogram = Histogram("x", "X.", (1.0,), ("model",))
    for value, model in ((0.5, "a"), (2.0, "a"), (3.0, "b")):
        histogram.observe(value, model)
    assert [(sample["labels"], sample["value"]) for sample in histogram.describe()["samples"]] == [
        ({"model": "a"}, {"count": 2, "sum": 2.5, "buckets": [{"le": 1.0, "count": 1}]}),
        ({"model": "b"}, {"count": 1, "sum": 3.0, "buckets": [{"le": 1.0, "count": 0}]}),
    ]


def test_only_so_many_names_that_clients_choose_are_told_apart() -> None:
    names = Names(2)
    assert [names.of(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]


def test_a_declared_model_keeps_its_name_whatever_files_were_loaded_before() -> None:
    metrics = Metrics()
    assert metrics.model(None, "/models/qwen.rkllm") == "qwen.rkllm"
    labels = {metrics.model(None, f"/tmp/{number}") for number in range(1000)}
    assert len(labels) == MOST_NAMES, "one of them is qwen.rkllm's, and all later ones are one"
    assert metrics.model("chat", "/models/chat.rkllm") == "chat"
    assert metrics.model(None, "/elsewhere/qwen.rkllm") == "qwen.rkllm"
