"""The KV cache and prompt caches of the portable RKLLM runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rkllmd.portable.demo.text import layout
from rkllmd.portable.driver import Driver, prompt
from tests.portable.rkllm.common import (
    FINISH,
    WEATHER,
    Load,
)

# The cache


def test_history_of_two_turns(load: Load) -> None:
    driver = load()
    driver.run("My name is Tom.", keep_history=True)
    size = driver.cache_sizes()[0]
    second = driver.run("What is my name?", keep_history=True)
    assert second.text == "Your name is Tom."
    assert driver.cache_sizes()[0] == size + second.perf["prefill_tokens"] + second.perf["generate_tokens"]
    assert "Tom" not in driver.run("What is my name?").text, "without keep_history nothing is remembered"


def test_history_reads_the_whole_template(load: Load) -> None:
    """The second turn's cells are those of the whole chat, with the end of the first turn between them."""
    driver = load()
    texts: list[str] = []

    def record(_userdata: Any, text: bytes, length: int, ids: Any, _most: int) -> int:
        texts.append(text[:length].decode())
        ids[0] = 5
        return 1

    recorder = load(tokenizer=record, max_new_tokens=1)
    recorder.run("My name is Tom.", keep_history=True)
    recorder.run("What is my name?", keep_history=True)
    answer = driver.run("My name is Tom.", keep_history=True).text
    driver.run("What is my name?", keep_history=True, max_new_tokens=1)
    assert texts[0] + answer + texts[1] == (
        layout.message("user", "My name is Tom.")
        + layout.answer_start(False)
        + answer
        + "<|im_end|>\n"
        + layout.message("user", "What is my name?")
        + layout.answer_start(False)
    )


def test_context_shift_keeps_the_beginning(load: Load) -> None:
    driver = load(max_context_len=128, n_keep=8, ignore_eos_token=True)
    outcome = driver.run("Tell me a story.", max_new_tokens=400)
    assert outcome.status == 0
    assert len(outcome.tokens[0]) == 400
    assert 64 <= driver.cache_sizes()[0] <= 128


def test_prompt_cache_reuses_the_common_prefix(load: Load, tmp_path: Path) -> None:
    system = "You are a helpful assistant on a small board. " * 6
    path = tmp_path / "prompt.cache"

    def fresh() -> Driver:
        driver = load()
        driver.call("set_chat_template", system.encode(), b"<|im_start|>user\n", b"<|im_end|>\n<|im_start|>assistant\n")
        return driver

    saver = fresh()
    full = saver.run("What is an NPU?", save_cache=path)
    assert path.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [path]
    driver = fresh()
    assert driver.call("load_prompt_cache", str(path).encode()) == 0
    assert driver.cache_sizes()[0] == full.perf["prefill_tokens"]
    same = driver.run("What is an NPU?")
    assert same.perf["prefill_tokens"] == 1
    assert same.text == full.text
    other = driver.run("Hello")
    assert other.perf["prefill_tokens"] < 12
    assert other.text == fresh().run("Hello").text
    assert driver.run("What is an NPU?").perf["prefill_tokens"] == 1, "the file is read again"
    assert driver.call("release_prompt_cache") == 0
    assert driver.cache_sizes() == [0]
    assert driver.run("What is an NPU?").perf["prefill_tokens"] == full.perf["prefill_tokens"]
    assert driver.run("What is an NPU?").perf["prefill_tokens"] == full.perf["prefill_tokens"]


def test_prompt_cache_serves_each_entry_of_a_batch(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "prompt.cache"
    alone = load().run("What is an NPU?", save_cache=path)
    driver = load(n_batch=2)
    assert driver.call("load_prompt_cache", str(path).encode()) == 0
    assert driver.cache_sizes() == [alone.perf["prefill_tokens"]] * 2
    outcome = driver.run("What is an NPU?", "What is an NPU?")
    assert outcome.perf["prefill_tokens"] == 2
    assert outcome.tokens == [alone.tokens[0]] * 2


def test_clear_keeps_the_system_prompt(load: Load) -> None:
    driver = load()
    driver.set_tools(WEATHER)
    full = driver.run("What is an NPU?", keep_history=True)
    assert driver.clear(keep_system=True) == 0
    kept = driver.cache_sizes()[0]
    assert 0 < kept < full.perf["prefill_tokens"]
    again = driver.run("What is an NPU?", keep_history=True)
    assert again.perf["prefill_tokens"] == full.perf["prefill_tokens"] - kept
    assert again.text == full.text
    assert driver.clear() == 0
    assert driver.cache_sizes() == [0]
    assert driver.run("What is an NPU?").perf["prefill_tokens"] == full.perf["prefill_tokens"]


def test_clear_ranges(load: Load) -> None:
    driver = load(n_batch=2)
    driver.run("What is an NPU?", "Count from 1 to 9.", decide=lambda *_: 1)
    before = driver.cache_sizes()
    assert driver.clear(ranges=[(0, 4), (2, 5)]) == 0
    assert driver.cache_sizes() == [before[0] - 4, before[1] - 3]
    assert driver.clear(ranges=[(5, 5), (3, 4000)]) == 0
    assert driver.cache_sizes() == [before[0] - 4, 3]
    assert driver.clear(ranges=[(3, 2), (0, 1)]) == -1
    assert driver.clear(ranges=[(-1, 2), (0, 1)]) == -1
    assert driver.cache_sizes() == [before[0] - 4, 3]
    assert driver.run(prompt(" chip"), prompt(" 7")).states[-1] is FINISH
