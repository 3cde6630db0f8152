"""What is counted of a run that has ended."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rkllmd.language.runs import counting
from rkllmd.metrics import Metrics


def counted(**run: Any) -> dict[str, Any]:
    """Return the values of the families that a run has changed."""
    made, tokens, cached = run.pop("made", 0), run.pop("tokens", 0), run.pop("cached", None)
    whole: Any = {"started_at": 10.0, "first_token_at": None, "last_at": 0.0, "perf": None, **run}
    generation: Any = SimpleNamespace(transcript=SimpleNamespace(made=made), tokens=tokens, **whole)
    model: Any = SimpleNamespace(name="chat", path="/m")
    metrics = Metrics()
    counting.count(metrics, model, generation, cached)
    found = {item["name"].removeprefix("rkllmd_"): item["samples"] for item in metrics.describe()}
    assert all(sample["labels"] == {"model": "chat"} for samples in found.values() for sample in samples)
    values = {name: samples[0]["value"] for name, samples in found.items() if samples}
    return {name: value if isinstance(value, int) else value["sum"] for name, value in values.items()}


def test_the_speed_is_that_after_the_first_token() -> None:
    run = counted(made=5, tokens=5, first_token_at=10.5, last_at=12.5, perf={"prefill_tokens": 7})
    assert run == {
        "prompt_tokens": 7,
        "generated_tokens": 5,
        "time_to_first_token_seconds": 0.5,
        "generation_tokens_per_second": 2.0,
    }


def test_each_entry_of_a_batch_makes_tokens() -> None:
    run = counted(made=20, tokens=5, first_token_at=10.5, last_at=12.5)
    assert (run["generated_tokens"], run["generation_tokens_per_second"]) == (20, 8.0)


def test_a_run_without_a_first_token_has_made_none() -> None:
    assert counted() == {}
    assert counted(perf={"prefill_tokens": 7}) == {"prompt_tokens": 7}
    assert counted(perf={"prefill_tokens": 0}) == {}, "1.2.1 does not say it"
    assert counted(perf={"prefill_tokens": 7}, cached=30) == {"prompt_tokens": 7, "cached_prompt_tokens": 30}


def test_hidden_states_are_no_tokens() -> None:
    assert counted(first_token_at=11.0) == {"time_to_first_token_seconds": 1.0}


def test_one_token_has_no_speed() -> None:
    assert counted(made=1, tokens=1, first_token_at=11.0, last_at=11.0).keys() == {
        "generated_tokens",
        "time_to_first_token_seconds",
    }
