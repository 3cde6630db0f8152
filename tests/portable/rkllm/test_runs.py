"""Runs of the portable RKLLM runtime at the level of its C functions, with the demo model."""

from __future__ import annotations

import ctypes
import itertools
import threading
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LLMCallState
from rkllmd.abi.layouts.rkllm_1_3_1 import RKLLMInput
from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode
from rkllmd.portable.demo.text import layout
from rkllmd.portable.driver import GREEDY, embeddings, floats, prompt, tokens
from tests.portable.rkllm.common import (
    FINISH,
    HIDDEN,
    LORA,
    NORMAL,
    NPU,
    WAITING,
    WIDTH,
    Load,
    errors,
)

# Generation


def test_answers(load: Load) -> None:
    outcome = load().run("What is an NPU?")
    assert outcome.status == 0
    assert outcome.text.startswith(NPU)
    assert outcome.states == [NORMAL] * len(outcome.tokens[0]) + [FINISH]
    assert outcome.perf["generate_tokens"] == len(outcome.tokens[0])
    assert outcome.perf["prefill_tokens"] > 5
    assert outcome.perf["memory_usage_mb"] > 1


def test_what_is_no_number_harms_only_its_own_run(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    driver = load()
    assert driver.load_lora(LORA, "mad", scale=3e38) == 0
    for mode in RKLLMInferMode:
        assert driver.run("What is an NPU?", mode=mode, lora="mad").status != 0
        assert "no number" in errors(capfd)[-1]
        assert driver.run("What is an NPU?").text.startswith(NPU)


@pytest.mark.parametrize("number", [1e38, -1e38, float("inf"), float("nan")])
def test_embeddings_that_no_model_has_are_refused(load: Load, capfd: pytest.CaptureFixture[str], number: float) -> None:
    driver = load()
    assert driver.run(embeddings([[0.0] * (WIDTH - 1) + [number]])).status != 0
    assert "embed holds numbers that are no model's" in errors(capfd)[-1]
    assert driver.run("What is an NPU?").text.startswith(NPU)


def test_split_characters_wait(load: Load) -> None:
    outcome = load().run("你是谁？")  # noqa: RUF001
    assert WAITING in outcome.states
    assert "语言模型" in outcome.texts[0].decode()


def test_same_seed_same_answer(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = {"temperature": 1.0, "top_k": 40, "repeat_penalty": 1.1}
    first = load(**warm).run("Tell me a story.").text
    assert load(**warm).run("Tell me a story.").text == first
    monkeypatch.setenv("RKLLM_PORTABLE_SEED", "77")
    assert load(**warm).run("Tell me a story.").text != first


def test_sampling_of_one_run(load: Load) -> None:
    driver = load(top_k=40, temperature=1.0)
    greedy = load().run("Tell me a story.").text
    assert driver.run("Tell me a story.", sampling=GREEDY).text == greedy
    assert driver.run("Tell me a story.", sampling={"mirostat": 2, "temperature": 1.5}).status == 0
    assert driver.run("Tell me a story.", sampling={"mirostat": 1}).status == 0


def test_max_new_tokens(load: Load) -> None:
    driver = load(max_new_tokens=3)
    assert len(driver.run("What is an NPU?").tokens[0]) == 3
    assert len(driver.run("What is an NPU?", max_new_tokens=7).tokens[0]) == 7


def test_thinking_on_demand(load: Load) -> None:
    driver = load()
    assert driver.run(prompt("Hello", thinking=True)).text.startswith("<think>\n")
    assert "<think>" not in driver.run("Hello").text


def test_special_tokens_are_shown_on_demand(load: Load) -> None:
    shown = load(ignore_eos_token=True, skip_special_token=False).run("Hello", max_new_tokens=40)
    hidden = load(ignore_eos_token=True).run("Hello", max_new_tokens=40)
    assert layout.END_OF_TURN in shown.text
    assert layout.END_OF_TURN not in hidden.text
    assert shown.tokens == hidden.tokens


def test_special_tokens_are_shown_for_one_run(load: Load) -> None:
    driver = load(ignore_eos_token=True)
    shown, hidden = (driver.run("Hello", max_new_tokens=40, show_special=show) for show in (True, False))
    assert layout.END_OF_TURN in shown.text
    assert layout.END_OF_TURN not in hidden.text
    assert shown.tokens == hidden.tokens


def test_the_token_that_ends_a_run_is_never_shown(load: Load) -> None:
    driver = load()
    assert driver.run("Hello", show_special=True).text == driver.run("Hello").text


# Pausing, aborting, running in the background


def test_pause_and_resume(load: Load) -> None:
    driver = load()
    whole = driver.run("What is an NPU?")
    count = itertools.count(1)
    first = driver.run("What is an NPU?", decide=lambda *_: next(count) == 5)
    assert first.status == 0
    assert first.states == [NORMAL] * 5
    rest = driver.run(prompt(""))
    assert first.tokens[0] + rest.tokens[0] == whole.tokens[0]
    assert rest.perf["prefill_tokens"] == 1


def test_resume_takes_new_text(load: Load) -> None:
    driver = load()
    driver.run("What is an NPU?", decide=lambda *_: 1)
    before = driver.cache_sizes()[0]
    resumed = driver.run(prompt(" GPU is a"))
    assert resumed.states[-1] is FINISH
    assert resumed.perf["prefill_tokens"] > 1
    assert driver.cache_sizes()[0] > before


def test_abort_during_prefill(load: Load, embedding_table: list[list[float]]) -> None:
    calls: list[int] = []

    def embed_and_abort(_userdata: Any, ids: Any, count: int, buffer: int, _size: int) -> int:
        calls.append(count)
        ctypes.memmove(buffer, floats([embedding_table[i] for i in ids[:count]]), count * WIDTH * 4)
        return driver.call("abort")

    driver = load(embed=embed_and_abort)
    outcome = driver.run(tokens([10] * 1000))
    assert outcome.status == 0
    assert outcome.states == [FINISH]
    assert outcome.perf["generate_tokens"] == 0
    assert sum(calls) < 1000, "the rest of the prompt was not read"
    assert driver.cache_sizes() == [0]


def test_abort_while_the_caller_tokenizes(load: Load) -> None:
    calls: list[int] = []

    def tokenize_and_abort(_userdata: Any, _text: Any, length: int, _tokens: Any, _count: int) -> int:
        calls.append(length)
        return driver.call("abort")

    driver = load(tokenizer=tokenize_and_abort)
    for function in ("run", "run_async"):
        outcome = driver.run("Hello", function=function)
        assert (outcome.status, outcome.states) == (0, [FINISH])
    assert len(calls) == 2, "no more was asked for"
    assert driver.call("is_running") == 0


def test_abort_while_the_engine_tokenizes(load: Load) -> None:
    driver = load()
    before = driver.run("Hello", keep_history=True)

    def abort_soon() -> None:
        while not driver.call("is_running"):
            pass
        driver.call("abort")

    thread = threading.Thread(target=abort_soon)
    thread.start()
    outcome = driver.run(" word" * 200_000)
    thread.join()
    assert (outcome.status, outcome.states) == (0, [FINISH])
    assert driver.call("is_running") == 0
    assert driver.cache_sizes()[0] > 0, "what was known is known still"
    assert driver.run("Hello", keep_history=True).status == before.status


def test_abort_during_generation(load: Load) -> None:
    driver = load(ignore_eos_token=True)
    outcome = driver.run("Hello", max_new_tokens=500, decide=lambda *_: driver.call("abort"))
    assert outcome.status == 0
    assert outcome.states == [NORMAL, FINISH]


@pytest.mark.parametrize(("function", "is_async"), [("run_async", False), ("run", True)])
def test_background_run(load: Load, function: str, is_async: bool) -> None:
    driver = load(is_async=is_async)
    finished, running, threads = threading.Event(), [], set()

    def decide(state: LLMCallState, _texts: list[bytes | None]) -> None:
        running.append(driver.call("is_running"))
        threads.add(threading.get_ident())
        if state is FINISH:
            finished.set()

    outcome = driver.run("What is an NPU?", function=function, decide=decide)
    assert outcome.status == 0
    assert finished.wait(10)
    assert outcome.text.startswith(NPU)
    assert threading.get_ident() not in threads
    assert running[:-1] == [1] * (len(running) - 1)
    assert running[-1] == 0, "whoever sees FINISH may start the next run"
    assert driver.run("Hello", function="run_async").status == 0


def test_busy_handle_refuses(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    driver = load()
    request = (RKLLMInput * 1)(prompt("Hello"))
    kept: list[Any] = driver._kept
    statuses: list[int] = []

    def decide(state: LLMCallState, _texts: list[bytes | None]) -> None:
        if state is NORMAL and not statuses:
            statuses.append(driver.call("run", request, ctypes.byref(kept[4]), None))
            statuses.append(driver.clear())
            statuses.append(driver.call("set_chat_template", b"", b"", b""))

    assert driver.run("Hello", decide=decide).status == 0
    assert statuses == [-1, -1, -1]
    assert len(errors(capfd)) == 3


# Batches


def test_batch_of_two(load: Load) -> None:
    questions = ["Hello", "What is an NPU?"]
    alone = [load().run(question) for question in questions]
    driver = load(n_batch=2)
    seen: list[list[bytes | None]] = []
    together = driver.run(*questions, decide=lambda _state, texts: seen.append(texts))
    assert together.status == 0
    assert [text.decode() for text in together.texts] == [one.text for one in alone]
    assert together.states.count(FINISH) == 1
    shorter = min(range(2), key=lambda i: len(together.tokens[i]))
    assert seen[-2][shorter] is None, "an entry that has finished has no text"
    assert seen[-2][1 - shorter] is not None
    assert driver.cache_sizes() == [int(one.perf["prefill_tokens"] + one.perf["generate_tokens"]) for one in alone]


def test_batch_keeps_history_by_entry(load: Load) -> None:
    driver = load(n_batch=2)
    driver.run("My name is Tom.", "My name is Anna.", keep_history=True)
    outcome = driver.run("What is my name?", "What is my name?", keep_history=True)
    assert [text.decode() for text in outcome.texts] == ["Your name is Tom.", "Your name is Anna."]


def test_batch_of_rows(load: Load) -> None:
    alone = [load().run(text, mode=HIDDEN).rows[0] for text in ("Hello", "Good morning!")]
    together = load(n_batch=2).run("Hello", "Good morning!", mode=HIDDEN).rows
    for one, other in zip(alone, together, strict=True):
        assert [pytest.approx(row, abs=1e-2) for row in one] == other
