"""Counts of tokens where the runtime does not say them, or fails; what it says is in tests/portable/rkllm."""

from __future__ import annotations

from tests.daemon import Start, kind


def test_a_runtime_that_does_not_count_says_so(start: Start) -> None:
    daemon = start()
    daemon.load()
    with daemon.connect() as wire:
        for params in ({"text": "one"}, {"messages": [{"role": "user", "content": "one"}]}):
            assert kind(wire.ask("server.count_tokens", params)) == "NotSupported"
        assert kind(wire.ask("server.count_tokens", {"text": "x" * 10_000_000})) == "InvalidParams"
