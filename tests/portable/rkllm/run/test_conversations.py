"""Conversations that are told from their beginning each time: only what the cache does not have of them is read."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rkllmd.portable.driver import Driver, Outcome, floats
from rkllmd.portable.extension import ALL, Counted, NextRun, Span
from tests.portable.rkllm.common import LORA, WIDTH, Load

ASKED = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
THEN = "<|im_end|>\n<|im_start|>user\nWhat is bread?<|im_end|>\n<|im_start|>assistant\n"


def spans(parts: Sequence[str]) -> list[Span]:
    """Return where the template has written, which is every other part: there, markers are control tokens."""
    ends = [len("".join(parts[: at + 1]).encode()) for at in range(len(parts))]
    return [(end - len(part.encode()), end) for end, part in list(zip(ends, parts, strict=True))[::2]]


def tell(driver: Driver, *parts: str, **more: Any) -> Outcome:
    """Run a conversation."""
    options: dict[str, Any] = {"meant": spans(parts), "bare": True, "reuse": True, "max_new_tokens": 60}
    return driver.run("".join(parts), **(options | more))


def reused(driver: Driver, entry: int = 0) -> int:
    return driver.extension.reused_tokens(driver.handle, entry)


def test_an_answer_is_not_read_again_whatever_tokens_it_was_written_in(load: Load) -> None:
    """It has gone on behind its end here, which its text does not show."""
    driver, by_history = load(ignore_eos_token=True), load(ignore_eos_token=True)
    first = tell(driver, ASKED)
    held = driver.cache_sizes()[0]
    answer = tell(driver, ASKED, first.text, THEN)
    assert reused(driver) == held
    assert tell(by_history, ASKED, reuse=False, keep_history=True).text == first.text
    assert tell(by_history, THEN, reuse=False, keep_history=True).tokens == answer.tokens
    assert by_history.cache_sizes() == driver.cache_sizes()
    assert len(driver.outcome.tokens[0]) == 60
    assert answer.perf["prefill_tokens"] == by_history.outcome.perf["prefill_tokens"]


def test_an_answer_that_has_ended_by_itself_is_followed_too(load: Load) -> None:
    driver = load()
    first = tell(driver, ASKED, max_new_tokens=100)
    held = driver.cache_sizes()[0]
    assert len(first.tokens[0]) < 100
    again = tell(driver, ASKED, first.text, THEN)
    assert reused(driver) == held
    assert again.tokens == tell(load(), ASKED, first.text, THEN).tokens


@pytest.mark.parametrize("first_spans", [[], [(at, at + 1) for at in range(len(ASKED))]])
def test_it_makes_no_difference_in_which_pieces_a_text_is_given(load: Load, first_spans: list[Span]) -> None:
    driver = load(ignore_eos_token=True)
    said = tell(driver, ASKED, meant=first_spans).text
    held, whole = driver.cache_sizes()[0], f"{ASKED}{said}{THEN}"
    found = tell(driver, whole, meant=[(0, len(ASKED))] if first_spans else [])
    assert reused(driver) == held
    assert found.perf["prefill_tokens"] < driver.extension.count_tokens(
        driver.handle, whole.encode(), Counted(ALL, bare=True)
    )


def changed(driver: Driver, parts: list[str]) -> None:
    parts[0] = ASKED.replace("Hello", "Hallo")


def dropped(driver: Driver, parts: list[str]) -> None:
    size = driver.cache_sizes()[0]
    assert driver.clear(ranges=[(size - 7, size)]) == 0


def cleared(driver: Driver, parts: list[str]) -> None:
    assert driver.clear() == 0


def of_others(driver: Driver, parts: list[str]) -> None:
    tell(driver, "Hello", reuse=False)


@pytest.mark.parametrize("change", [changed, dropped, cleared, of_others])
def test_what_the_cache_does_not_have_is_read(load: Load, change: Callable[[Driver, list[str]], None]) -> None:
    driver = load(ignore_eos_token=True)
    parts = [ASKED, tell(driver, ASKED).text, THEN]
    held = driver.cache_sizes()[0]
    change(driver, parts)
    found, fresh = tell(driver, *parts), load(ignore_eos_token=True)
    assert reused(driver) < held
    assert found.tokens == tell(fresh, *parts).tokens
    assert driver.cache_sizes() == fresh.cache_sizes()


def test_markers_that_somebody_has_typed_are_not_those_that_the_cache_has(load: Load) -> None:
    driver = load(ignore_eos_token=True)
    said = tell(driver, ASKED).text
    at = ASKED.index("<|im_end|>")
    tell(driver, ASKED[:at], ASKED[at:] + said, THEN)
    assert reused(driver) <= at


def test_a_conversation_that_was_shifted_is_read_anew(load: Load) -> None:
    driver = load(ignore_eos_token=True, max_context_len=64)
    first = tell(driver, "One two three", max_new_tokens=80)
    assert len(first.tokens[0]) == 80
    assert driver.cache_sizes()[0] < 60, "there is room for more, but not behind the whole conversation"
    assert tell(driver, "One two three", first.text, " a", max_new_tokens=1).status == -1


def test_one_that_does_not_fit_behind_what_the_cache_has_is_read_anew(load: Load) -> None:
    """The answer was written in more tokens than reading it takes."""
    driver = load(ignore_eos_token=True, max_context_len=128)
    said = tell(driver, ASKED).text
    held, how = driver.cache_sizes()[0], Counted(ALL, bare=True)
    more = ""
    while driver.extension.count_tokens(driver.handle, f"{ASKED}{said}{more}".encode(), how) < 128:
        more += " a"
    found = tell(driver, ASKED, said, more, max_new_tokens=1)
    assert reused(driver) < held
    assert reused(driver) + found.perf["prefill_tokens"] == 128


def test_prompts_of_a_batch_are_read_together_in_any_number_of_steps(load: Load) -> None:
    """There are more tokens than the engine takes at once."""
    texts = [f"{name} has {'bread and rain and ' * 40}" for name in ("Ada", "Tom", "Anna", "Bob")]
    alone = [load().run(text, max_new_tokens=4) for text in texts]
    driver = load(n_batch=len(texts))
    found = driver.run(*texts, max_new_tokens=4)
    assert sum(driver.cache_sizes()) > 2 * 512
    assert found.tokens == [one.tokens[0] for one in alone]
    assert found.perf["prefill_tokens"] == sum(one.perf["prefill_tokens"] for one in alone)


def test_abort_while_the_prompts_of_a_batch_are_read(load: Load, embedding_table: list[list[float]]) -> None:
    """Each entry is as before, and its conversation goes on."""
    until_abort: list[int] = []

    def embed(_userdata: Any, ids: Any, count: int, buffer: int, _size: int) -> int:
        ctypes.memmove(buffer, floats([embedding_table[i] for i in ids[:count]]), count * WIDTH * 4)
        until_abort.pop()
        return 0 if until_abort else driver.call("abort")

    driver = load(n_batch=2, embed=embed)
    until_abort += [0] * 100
    driver.run("My name is Tom.", "My name is Anna.", keep_history=True)
    before = driver.cache_sizes()
    until_abort[:] = [0] * 2
    assert driver.run("Hello " * 300, "Hello " * 300, keep_history=True).tokens == [[], []]
    assert driver.outcome.perf["prefill_tokens"] == 512, "the rest was not read"
    assert driver.cache_sizes() == before
    until_abort += [0] * 100
    found = driver.run("What is my name?", "What is my name?", keep_history=True)
    assert [text.decode() for text in found.texts] == ["Your name is Tom.", "Your name is Anna."]


def test_entries_follow_their_own_conversations(load: Load) -> None:
    driver = load(n_batch=2, ignore_eos_token=True)
    parts = [[ASKED], [ASKED.replace("Hello", "What is an NPU?")]]
    held = [0, 0]
    for _ in range(3):
        driver.extension.next_run(driver.handle, NextRun())
        for sequence, said in enumerate(parts):
            options = NextRun(meant=spans(said), bare=True, reuse=True)
            assert driver.extension.next_entry(driver.handle, sequence, options) == 0
        found = driver.run(*map("".join, parts), max_new_tokens=16)
        assert [reused(driver, entry) for entry in range(2)] == held
        held = driver.cache_sizes()
        parts = [[*said, text.decode(), THEN] for said, text in zip(parts, found.texts, strict=True)]


def test_what_another_adapter_has_computed_is_not_gone_on_with(load: Load) -> None:
    driver = load()
    assert driver.load_lora(LORA, "pirate") == 0
    parts = [ASKED, tell(driver, ASKED, lora="pirate").text, THEN]
    found, fresh = tell(driver, *parts), tell(load(), *parts)
    assert reused(driver) == 0
    assert (found.tokens, found.perf["prefill_tokens"]) == (fresh.tokens, fresh.perf["prefill_tokens"])
