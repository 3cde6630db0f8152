"""Clients that share batches of the demo model: answers as if alone, and nothing is computed for places nobody has."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rkllmd.portable.driver import GREEDY, Driver
from rkllmd.portable.extension import NextRun
from tests.daemon import Daemon, Start, until
from tests.portable.rkllm.common import DEMO, NORMAL, Load, errors
from tests.wire_connection import Wire, kind, streamed

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


def talk(*said: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)], **more}


def test_chats_share_a_batch_and_each_finds_its_own_beginning(demo: Daemon) -> None:
    """Two turns of four conversations at once: as alone, and only the new words are read in the second one."""
    lamp = {"type": "object", "properties": {"room": {"enum": ["kitchen", "bath"]}}, "required": ["room"]}
    said: list[list[str]] = [[question] for question in QUESTIONS]
    with ExitStack() as stack:
        wires = [stack.enter_context(demo.connect()) for _ in QUESTIONS]
        for turn in range(2):
            for wire, words in zip(wires, said, strict=True):
                wire.request("rkllm.run_async", talk(*words, max_new_tokens=24), 1)
            for wire, words in zip(wires, said, strict=True):
                messages = wire.until_final(1)
                final = messages[-1]["result"]
                assert final["template"] == "model"
                assert (final["cached_tokens"] > final["perf"]["prefill_tokens"] / 2) == (turn > 0), final
                assert final["prompt_tokens"] == final["cached_tokens"] + final["perf"]["prefill_tokens"]
                words += [streamed(messages), "What is bread?"]
        asked = [talk("Hello", format=lamp), talk("Hello", max_new_tokens=24), {"prompt": "Hello", "format": lamp}]
        for wire, item in zip(wires, asked, strict=False):
            wire.request("rkllm.run", item)
        answers = [wire.final(1)["result"]["text"] for wire, _ in zip(wires, asked, strict=False)]
        assert {json.loads(answers[at])["room"] for at in (0, 2)} <= {"kitchen", "bath"}
        assert "{" not in answers[1]


def turns(daemon: Daemon, *questions: str) -> list[list[tuple[int, int]]]:
    """Hold conversations of three turns, all at once; return how long each later prompt was, and how much was read."""
    said, read = [[question] for question in questions], [list[tuple[int, int]]() for _ in questions]
    with ExitStack() as stack:
        wires = [stack.enter_context(daemon.connect()) for _ in questions]
        for turn in range(3):
            for wire, words in zip(wires, said, strict=True):
                wire.request("rkllm.run_async", talk(*words))
            for wire, words, figures in zip(wires, said, read, strict=True):
                messages = wire.until_final(1)
                final = messages[-1]["result"]
                figures += [(final["prompt_tokens"], final["perf"]["prefill_tokens"])] if turn else []
                words += [streamed(messages), "What is an NPU?"]
    return read


def test_chats_in_a_batch_read_no_more_than_each_would_alone(start: Start) -> None:
    """Their answers go on behind their ends, which do not show: read again, they would be other tokens."""
    param = {"model_path": str(DEMO), "ignore_eos_token": True, "max_new_tokens": 60, "max_context_len": 512}
    daemon = start(runtime="portable")
    daemon.load(**param)
    alone = [turns(daemon, question)[0] for question in QUESTIONS[:3]]
    shared = start(runtime="portable")
    shared.load(**param, extend_param={"n_batch": 3})
    assert turns(shared, *QUESTIONS[:3]) == alone


def test_what_can_not_share_a_batch_has_it_alone(demo: Daemon) -> None:
    with demo.connect() as wire:
        assert "Tom" in wire.ask("rkllm.run", {"prompt": "My name is Tom.", "keep_history": 1})["result"]["text"]
        assert "Tom" in wire.ask("rkllm.run", {"prompt": "What is my name?", "keep_history": 1})["result"]["text"]
        for turn in (1, 2):
            found = wire.ask("rkllm.run", {"prompt": "Hello", "max_new_tokens": 8}, session="kitchen")["result"]
            assert found["session"]["turns"] == turn
            assert (found["cached_tokens"] > 0) == (turn > 1)
        for more in ({}, {"keep_history": 1}):
            refused = wire.ask("rkllm.run", {"prompt": "Hello " * 300, **more})
            assert kind(refused) == "InvalidParams", "it is too long, whoever else is in the batch"


def test_an_input_that_is_too_long_is_named(demo: Daemon) -> None:
    inputs = [{"prompt": text} for text in ("Hello", "Hello", "Hello " * 300, "Hello")]
    with demo.connect() as wire:
        for more in ({}, {"bare": True}):
            refused = wire.ask("rkllm.run", {"rkllm_input": inputs, **more})
            assert (kind(refused), refused["error"]["data"]["path"]) == ("InvalidParams", "$.rkllm_input[2]")
            assert refused["error"]["data"]["tokens"] > refused["error"]["data"]["max_context_len"]


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
    add(driver, 2, 0)
    for sequence, why in ((3, "3 of 3"), (-1, "-1 of 3"), (2, "2 belongs to another entry of the run")):
        assert driver.extension.next_entry(driver.handle, sequence, NextRun()) == -1
        assert errors(capfd) == [f"E rkllm: rkllm_portable_next_entry: sequence {why}"]
    driver.entries = 2
    found = driver.run(*QUESTIONS[:2], max_new_tokens=10)
    assert found.tokens == [alone[0].tokens[0], alone[1].tokens[0]]
    driver.entries = 3
    assert len(driver.run(*QUESTIONS[:3], max_new_tokens=10).texts) == 3, "the next one has all again"


def add(driver: Driver, *sequences: int, **options: Any) -> None:
    """Let the next run have entries in these parts of the cache."""
    driver.extension.next_run(driver.handle, NextRun())
    for sequence in sequences:
        assert driver.extension.next_entry(driver.handle, sequence, NextRun(**options)) == 0


def test_entries_have_their_own_seed_cache_and_guide(load: Load) -> None:
    """Each finds what its own part of the cache has of its text; one is guided, and no other."""
    driver = load(n_batch=2)
    text = "One two three four. Hello"
    asked: list[int] = []

    def ends(last: int, likeliest: int, allowed: int, words: int) -> None:
        asked.append(last)

    for _ in range(2):
        driver.extension.next_run(driver.handle, NextRun())
        assert driver.extension.next_entry(driver.handle, 1, NextRun(5, bare=True, reuse=True)) == 0
        assert driver.extension.next_entry(driver.handle, 0, NextRun(5, bare=True)) == 0
        found = driver.run(text, text, max_new_tokens=8, sampling={"temperature": 2.0, "top_k": 40})
        assert found.tokens[0] == found.tokens[1], "the same seed"
    reused = [driver.extension.reused_tokens(driver.handle, entry) for entry in range(2)]
    assert reused[0] > 4
    assert reused[1] == 0
    assert driver.extension.reused_tokens(driver.handle, 2) == -1
    add(driver, 0, 1)
    kept = driver.extension.guide_next_run(driver.handle, ends)
    found = driver.run("Hello", "Hello", max_new_tokens=8)
    assert [bool(tokens) for tokens in found.tokens] == [True, False], "it has allowed nothing"
    assert asked == [-1]
    assert kept


def test_one_entry_has_a_history_of_its_own(load: Load) -> None:
    alone, driver = load(), load(n_batch=2)
    driver.entries = 1
    for question in ("My name is Ada.", "Hello"):
        expected = alone.run(question, keep_history=True, max_new_tokens=8)
        add(driver, 0)
        assert driver.run(question, keep_history=True, max_new_tokens=8).tokens == expected.tokens
    assert alone.cache_sizes() == driver.cache_sizes()


def test_what_nobody_wants_any_more_is_not_computed(runtime: Path) -> None:
    with Muting(runtime, DEMO, **GREEDY, max_context_len=256, n_batch=2) as driver:
        found = driver.run(*QUESTIONS[:2], max_new_tokens=8)
        assert [len(tokens) for tokens in found.tokens] == [8, 1]
        assert found.perf["generate_tokens"] == 9
