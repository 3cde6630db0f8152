"""What the calls look like that run and wait: a load, a generation before and after its first token, the queue."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.npu import views
from rkllmd.npu.job import Job
from rkllmd.npu.load import Load
from rkllmd.npu.queue import Limits, Queue
from rkllmd.npu.times import estimates
from rkllmd.npu.times.durations import Durations


class Client:
    """A client with a name."""

    def describe(self) -> str:
        """Return it."""
        return "client 7"


def call(method: str = "rkllm.run", *, client: object = None, queued_at: float = 0.0, model: str = "m") -> Job:
    job = Job(method, lambda: None, lambda _: None, client=client, model_name=model)
    job.queued_at = queued_at
    return job


def test_only_this_very_models_time_is_taken(tmp_path: Path) -> None:
    model = tmp_path / "model.rkllm"
    model.touch()
    past = Durations(None)
    past.add("rkllm.init", "/another", 100.0)
    job = Job("rkllm.init", lambda: None, lambda _: None, model_name=str(model))
    job.load = Load(str(model), lambda: 5000)
    job.started_at = 10.0
    assert (found := views.of(job, past, 10.1)) is not None
    assert found["expected_ms"] is None
    past.add("rkllm.init", str(model), 400.0)
    assert (found := views.of(job, past, 10.1)) is not None
    assert (found["expected_ms"], found["fraction"]) == (400.0, 0.25)


def test_a_call_without_progress() -> None:
    assert views.of(call("rknn.run"), Durations(None), 0.0) is None


@pytest.mark.parametrize(
    ("first_at", "most", "shown"),
    [
        (None, 0, {"phase": "prefill", "max_new_tokens": None, "first_token_ms": None}),
        (2.25, 64, {"phase": "generate", "max_new_tokens": 64, "first_token_ms": 250.0}),
    ],
)
def test_a_generation_shows_its_tokens(first_at: float | None, most: int, shown: dict[str, Any]) -> None:
    job, past = call(), Durations(None)
    tokens: Any = SimpleNamespace(first_token_at=first_at, started_at=2.0, tokens=5, max_new_tokens=most)
    job.begin(tokens)
    assert views.of(job, past, 3.0) == {**shown, "tokens": 5, "expected_first_token_ms": None}
    past.add(estimates.FIRST_TOKEN, "m", 123.456)
    assert (found := views.of(job, past, 3.0)) is not None
    assert found["expected_first_token_ms"] == 123.5


def test_what_waits_and_where_each_stands() -> None:
    queue, past = Queue(Limits(9, 9, 9)), Durations(None)
    npu: Any = SimpleNamespace(queue=queue, durations=past)
    running, first, second = call(), call("rknn.run", client=Client(), queued_at=1.0, model=""), call(queued_at=2.0)
    queue.add(running)
    queue.next()
    queue.add(first)
    past.add("rkllm.run", "m", 1000.0)
    assert views.place(npu, first, 3.0)["position"] == 0
    queue.add(second)
    shown = views.waiting(views.turns(npu, 3.0), 3.0)
    assert [(item["client"], item["position"], item["queued_ms"]) for item in shown] == [
        (None, 0, 1000.0),
        ("client 7", 1, 2000.0),
    ], "the daemon's own come first"
    assert views.place(npu, first, 3.0) == {"position": 1, "estimated_wait_ms": shown[1]["estimated_wait_ms"]}
    assert views.place(npu, running, 3.0) == {"position": 0, "estimated_wait_ms": 0.0}
