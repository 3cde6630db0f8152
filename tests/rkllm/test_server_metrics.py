"""server.metrics of a real daemon: exact counts of what a client has done."""

from __future__ import annotations

from typing import Any

from tests.daemon import Start
from tests.openmetrics import check_families
from tests.server.jobs.submitting import ended, submit
from tests.wire_connection import Wire, kind


def families(wire: Wire) -> dict[str, list[dict[str, Any]]]:
    found = wire.ask("server.metrics")["result"]
    assert set(found) == {"families"}
    check_families(found["families"])
    return {item["name"].removeprefix("rkllmd_"): item["samples"] for item in found["families"]}


def calls(wire: Wire) -> dict[tuple[str, str], int]:
    return {(item["labels"]["method"], item["labels"]["outcome"]): item["value"] for item in families(wire)["calls"]}


def test_everything_that_a_client_does_is_counted_once(start: Start) -> None:
    daemon = start(scenario="text=abcdef;repeat=1")
    with daemon.connect() as wire:
        assert calls(wire) == {}
        daemon.load()
        for _ in range(2):
            assert wire.ask("rkllm.run", {"prompt": "Hello"})["result"]["text"] == "abcdef"
        assert kind(wire.ask("rkllm.run", {"prompt": 7})) == "InvalidParams"
        assert kind(wire.ask("rkllm.run", {"handle": 99, "prompt": "x"})) == "InvalidHandle"
        assert ended(wire, submit(wire, "rkllm.run", {"prompt": "Hello"}))["status"] == "completed"
        for number in range(50):
            assert kind(wire.ask(f"evil.{number}")) == "MethodNotFound"
        wire.send(
            b'[{"jsonrpc":"2.0","method":"rkllm.get_functions"},{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}]\n'
        )
        wire.receive()
        found = calls(wire)
        assert found.pop(("server.job", "ok")) >= 1
        assert found == {
            ("other", "MethodNotFound"): 50,
            ("rkllm.get_functions", "ok"): 1,
            ("rkllm.init", "ok"): 1,
            ("rkllm.run", "InvalidHandle"): 1,
            ("rkllm.run", "InvalidParams"): 1,
            ("rkllm.run", "ok"): 3,
            ("rpc.discover", "ok"): 1,
            ("server.metrics", "ok"): 1,
            ("server.submit", "ok"): 1,
        }
        shown = families(wire)
    assert shown["queue_wait_seconds"][0]["value"]["count"] == 4, "three runs and a load"
    model = {"model": "model.rkllm"}
    (made,) = shown["generated_tokens"]
    assert made == {"labels": model, "value": 9}, "two bytes each"
    for name, count in (
        ("time_to_first_token_seconds", 3),
        ("generation_tokens_per_second", 3),
        ("model_load_seconds", 1),
    ):
        (sample,) = shown[name]
        assert (sample["labels"], sample["value"]["count"]) == (model, count), name
    assert shown["prompt_tokens"][0]["value"] == 3 * daemon_prompt_tokens(daemon)
    assert shown["crashes"] == [], "only a keeper knows"
    jobs = {item["labels"]["status"]: item["value"] for item in shown["jobs"]}
    assert jobs == {"queued": 0, "processing": 0, "completed": 1, "error": 0}
    for name, value in (("queue_length", 0), ("connections", 1), ("sessions", 0), ("log_lines_dropped", 0)):
        assert shown[name] == [{"labels": {}, "value": value}], name
    assert 5 <= shown["open_descriptors"][0]["value"] < shown["max_descriptors"][0]["value"]
    assert 5_000_000 < shown["daemon_resident_bytes"][0]["value"] < shown["memory_total_bytes"][0]["value"]


def daemon_prompt_tokens(daemon: Any) -> int:
    """Return how many tokens the model reads for the prompt."""
    with daemon.connect() as wire:
        return int(wire.ask("rkllm.run", {"prompt": "Hello"})["result"]["perf"]["prefill_tokens"])
