"""Clients that share batches of the demo model: answers as if alone, and nothing is computed for places nobody has."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rkllmd.portable.driver import GREEDY, Driver
from tests.daemon import Daemon, Start, Wire, streamed, until
from tests.portable.rkllm.common import DEMO, NORMAL, Load, errors

QUESTIONS = ("What is an NPU?", "Hello", "What is bread?", "What is the capital of France?")


@pytest.fixture(scope="module")
def demo(start_for_module: Start) -> Daemon:
    daemon = start_for_module(runtime="portable")
    daemon.load(model_path=str(DEMO), extend_param={"n_batch": len(QUESTIONS)}, max_context_len=256)
    return daemon


def ask(wire: Wire, question: str, **params: Any) -> list[Any]:
    wire.request("rkllm.run_async", {"prompt": question, "max_new_tokens": 40, **params})
    return wire.until_final(1)


def test_answers_are_those_that_each_would_have_alone(demo: Daemon) -> None:
    with ExitStack() as stack:
        first, looker, *wires = [stack.enter_context(demo.connect()) for _ in range(2 + len(QUESTIONS))]
        alone = [ask(first, question) for question in QUESTIONS]
        first.request("rkllm.run_async", {"prompt": "Tell me a joke.", "max_new_tokens": 100_000}, "long")
        first.receive()
        for wire, question in zip(wires, QUESTIONS, strict=True):
            wire.request("rkllm.run_async", {"prompt": question, "max_new_tokens": 40})
        until("all wait", lambda: looker.ask("server.status")["result"]["queue_length"] in (0, len(QUESTIONS)))
        first.ask("server.cancel", {"id": "long"}, "cancel")
        for wire, other in zip(wires, alone, strict=True):
            messages = wire.until_final(1)
            assert streamed(messages) == streamed(other)
            found, expected = messages[-1]["result"]["perf"], other[-1]["result"]["perf"]
            assert found["generate_tokens"] == expected["generate_tokens"]
            assert found["prefill_tokens"] > 0


class Muting(Driver):
    """A caller that wants no more than one token of the second entry."""

    def _on_result(self, results: Any, userdata: int | None, state: int) -> int:
        decided = super()._on_result(results, userdata, state)
        if state == NORMAL:
            results[1].token_id = -1
        return decided


def test_a_run_may_have_fewer_entries(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    alone = [load().run(question, max_new_tokens=10) for question in QUESTIONS[:2]]
    driver = load(n_batch=3)
    assert not driver.extension.next_entries(driver.handle, 4)
    assert errors(capfd) == ["E rkllm: rkllm_portable_next_entries: 4 entries of 3"]
    assert driver.extension.next_entries(driver.handle, 2)
    driver.entries = 2
    found = driver.run(*QUESTIONS[:2], max_new_tokens=10)
    assert found.tokens == [alone[0].tokens[0], alone[1].tokens[0]]
    driver.entries = 3
    assert len(driver.run(*QUESTIONS[:3], max_new_tokens=10).texts) == 3, "the next one has all again"


def test_what_nobody_wants_any_more_is_not_computed(runtime: Path) -> None:
    with Muting(runtime, DEMO, **GREEDY, max_context_len=256, n_batch=2) as driver:
        found = driver.run(*QUESTIONS[:2], max_new_tokens=8)
        assert [len(tokens) for tokens in found.tokens] == [8, 1]
        assert found.perf["generate_tokens"] == 9
