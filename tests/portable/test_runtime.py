"""The portable runtime at the level of its C functions, with the demo model."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LLMCallState
from rkllmd.abi.layouts.rkllm_1_3_1 import RKLLMInput, RKLLMMultiModalInput
from rkllmd.abi.layouts.rkllm_common import RKLLMInferMode, RKLLMInputType
from rkllmd.portable import build
from rkllmd.portable.demo.text import layout
from rkllmd.portable.driver import GREEDY, Driver, Outcome, embeddings, floats, prompt, tokens
from tests.portable.gguf_rows import tensor_rows

DEMO = Path(build.__file__).parent / "demo" / "demo.gguf"
LORA = DEMO.with_name("demo-lora.gguf")
NORMAL, WAITING, FINISH, ERROR = LLMCallState
HIDDEN, LOGITS = RKLLMInferMode.RKLLM_INFER_GET_LAST_HIDDEN_LAYER, RKLLMInferMode.RKLLM_INFER_GET_LOGITS
WEATHER = '[{"name": "get_weather", "description": "Get the weather of a city.", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]'  # noqa: E501
NPU = "An NPU is a neural processing unit"
WIDTH, VOCABULARY = 128, 1024

Load = Callable[..., Driver]


@pytest.fixture(scope="module")
def runtime() -> Path:
    return build.build()


@pytest.fixture
def load(runtime: Path) -> Iterator[Load]:
    """Return a function that loads the demo model; what it loads is destroyed after the test."""
    drivers: list[Driver] = []

    def make(model: Path | str = DEMO, **param: Any) -> Driver:
        drivers.append(Driver(runtime, model, **({**GREEDY, "max_context_len": 1024} | param)))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.__exit__()


@pytest.fixture(scope="module")
def embedding_table() -> list[list[float]]:
    return tensor_rows(DEMO, "token_embd.weight")


def errors(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("E rkllm: ")]


def prompt_tokens(driver: Driver, text: str) -> list[int]:
    """Return the ids that the runtime itself makes of a first turn."""
    seen: list[int] = []

    def take(_userdata: Any, ids: Any, count: int, *_: Any) -> int:
        seen.extend(ids[:count])
        return 1

    with Driver(driver.runtime.path, DEMO, embed=take, max_context_len=1024) as other:
        other.run(text)
    return seen


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
    statuses: list[int] = []

    def decide(state: LLMCallState, _texts: list[bytes | None]) -> None:
        if state is NORMAL and not statuses:
            statuses.append(driver.call("run", request, ctypes.byref(driver._kept[4]), None))
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


# Adapters, embeddings, rows


def test_lora_changes_the_answer(load: Load) -> None:
    driver = load()
    plain = driver.run("Hello").text
    assert driver.load_lora(LORA, "pirate") == 0
    assert driver.run("Hello").text == plain, "loaded, but not asked for"
    assert "Arr" in driver.run("Hello", lora="pirate").text
    assert driver.run("Hello").text == plain
    assert driver.load_lora(LORA, "off", scale=0.0) == 0
    assert driver.run("Hello", lora="off").text == plain


def test_embeddings_are_tokens(load: Load, embedding_table: list[list[float]]) -> None:
    driver = load()
    ids = prompt_tokens(driver, "What is an NPU?")
    by_token = driver.run(tokens(ids))
    by_row = driver.run(embeddings([embedding_table[i] for i in ids]))
    assert by_token.tokens == by_row.tokens
    assert by_token.text.startswith(NPU)


def test_embed_callback(load: Load, embedding_table: list[list[float]]) -> None:
    sizes: set[float] = set()

    def embed(_userdata: Any, ids: Any, count: int, buffer: int, size: int) -> int:
        sizes.add(size / count)
        ctypes.memmove(buffer, floats([embedding_table[i] for i in ids[:count]]), size)
        return 0

    assert load(embed=embed).run("What is an NPU?").tokens == load().run("What is an NPU?").tokens
    assert sizes == {WIDTH * 4.0}


def test_tokenizer_callback(load: Load) -> None:
    ids = prompt_tokens(load(), "What is an NPU?")

    def tokenize(_userdata: Any, text: bytes, length: int, buffer: Any, most: int) -> int:
        assert text[:length].decode() == layout.message("user", "something else") + layout.answer_start(False)
        assert most >= length
        for i, token in enumerate(ids):
            buffer[i] = token
        return len(ids)

    assert load(tokenizer=tokenize).run("something else").text.startswith(NPU)


def test_hidden_states_and_logits(load: Load) -> None:
    driver = load()
    ids = prompt_tokens(driver, "What is an NPU?")
    hidden = driver.run(tokens(ids), mode=HIDDEN)
    assert hidden.states == [NORMAL, FINISH]
    assert [len(row) for row in hidden.rows[0]] == [WIDTH] * len(ids)
    logits = driver.run("What is an NPU?", mode=LOGITS)
    assert [len(row) for row in logits.rows[0]] == [VOCABULARY] * len(ids)
    last = logits.rows[0][-1]
    assert last.index(max(last)) == driver.run("What is an NPU?").tokens[0][0]


def test_rows_of_a_long_prompt_can_be_freed(load: Load) -> None:
    """More tokens than the engine takes at once, and a callback that frees the buffer."""
    driver = load()
    outcome = driver.run(tokens([10] * 700), mode=HIDDEN, decide=lambda *_: 2)
    assert outcome.states == [NORMAL, FINISH]
    assert len(outcome.rows[0]) == 700


def multimodal(text: str, **media: Any) -> RKLLMInput:
    made = RKLLMInput(input_type=RKLLMInputType.RKLLM_INPUT_MULTIMODAL)
    made.multimodal_input = RKLLMMultiModalInput(prompt=text.encode())
    for name, value in media.items():
        kind = "video" if "frame" in name else next(kind for kind in ("image", "video", "audio") if kind in name)
        setattr(getattr(made.multimodal_input, kind), name, value)
    return made


def one_image(text: str, **changes: Any) -> RKLLMInput:
    media = {"image_embed": floats([[0.0] * WIDTH]), "n_image": 1, "n_image_tokens": 1}
    return multimodal(text, **(media | changes))


def test_images_videos_and_audio_take_the_place_of_their_tags(load: Load, embedding_table: list[list[float]]) -> None:
    """With the rows of words as pictures, the answer is that to the words."""
    driver = load()
    ids = prompt_tokens(driver, "What is an NPU?")
    words = {word: prompt_tokens(driver, word) for word in ("a", "NPU", "What is")}
    start = next(i for i in range(len(ids)) if ids[i] != words["a"][i])
    end = next(i for i in range(1, len(ids)) if ids[-i] != words["a"][-i])
    inner = ids[start : len(ids) - end + 1]
    assert len(inner) >= 4
    rows = [embedding_table[i] for i in inner]
    picture = multimodal("<image>", image_embed=floats(rows), n_image_tokens=len(inner), n_image=1)
    expected = driver.run("What is an NPU?")
    shown = driver.run(picture)
    assert shown.tokens == expected.tokens
    assert shown.perf["prefill_tokens"] == expected.perf["prefill_tokens"]
    two = multimodal("<image><image>", image_embed=floats(rows[:2]), n_image_tokens=1, n_image=2)
    assert driver.run(two).perf["prefill_tokens"] == expected.perf["prefill_tokens"] - len(inner) + 2
    film = multimodal("<video>", video_embed=floats(rows[:4]), n_frame_tokens=2, n_frame_per_video=2, n_video=1)
    assert driver.run(film).perf["prefill_tokens"] == expected.perf["prefill_tokens"] - len(inner) + 4
    heard = multimodal("<audio>", audio_embed=floats(rows), n_audio_tokens=len(inner), n_audio=1)
    assert driver.run(heard).tokens == expected.tokens
    speech = {"audio_embed": floats(rows[:2]), "n_audio_tokens": 1, "n_audio": 2, "audio_content": b"<sound>"}
    both = multimodal("<sound><image><audio>", image_embed=floats(rows), n_image_tokens=len(inner), n_image=1, **speech)
    assert driver.run(both).perf["prefill_tokens"] == expected.perf["prefill_tokens"] + 2
    marked = multimodal(
        "<|im_start|>", image_embed=floats(rows), n_image_tokens=len(inner), n_image=1, image_start=b"<think>",
        image_end=b"</think>", image_content=b"<image>",
    )  # fmt: skip
    marked.multimodal_input.prompt = b"<image>"
    assert driver.run(marked).perf["prefill_tokens"] == expected.perf["prefill_tokens"] + 2


# Templates and tools


def rendered(load: Load, use: Callable[[Driver], Outcome]) -> str:
    """Return the prompt that the runtime makes, taken from its tokenizer callback."""
    texts: list[str] = []

    def record(_userdata: Any, text: bytes, length: int, ids: Any, _most: int) -> int:
        texts.append(text[:length].decode())
        ids[0] = 5
        return 1

    use(load(tokenizer=record, max_new_tokens=1))
    return max(texts, key=len)


def test_prompts_are_those_of_the_demo_training(load: Load) -> None:
    def tools(driver: Driver) -> Outcome:
        driver.set_tools(WEATHER, "Be kind.")
        return driver.run("Hello")

    def result(driver: Driver) -> Outcome:
        driver.set_tools(WEATHER, tag="<answer>")
        driver.run("Hello", keep_history=True)
        return driver.run(prompt('{"temperature": 21}' + " " * 2000, role="tool"), keep_history=True)

    assert rendered(load, lambda d: d.run("Hello")) == layout.message("user", "Hello") + layout.answer_start(False)
    assert rendered(load, lambda d: d.run(prompt("Hello", thinking=True))) == layout.message(
        "user", "Hello"
    ) + layout.answer_start(True)
    assert rendered(load, tools) == (
        layout.message("system", layout.tools_prompt("Be kind.", WEATHER))
        + layout.message("user", "Hello")
        + layout.answer_start(False)
    )
    expected = layout.message("user", layout.tool_response('{"temperature": 21}' + " " * 2000, "answer"))
    assert rendered(load, result) == "<|im_end|>\n" + expected + layout.answer_start(False)


def test_custom_template(load: Load) -> None:
    def use(driver: Driver) -> Outcome:
        driver.call("set_chat_template", b"SYSTEM ", b"<", b">")
        return driver.run(prompt("Hello", thinking=True))

    assert rendered(load, use) == "SYSTEM <Hello>"


def test_custom_template_ends_the_turn_before(load: Load) -> None:
    driver = load()
    driver.call("set_chat_template", b"", b"<|im_start|>user\n", b"<|im_end|>\n<|im_start|>assistant\n")
    first = driver.run("Hello", keep_history=True)
    alone = load()
    alone.call("set_chat_template", b"", b"<|im_start|>user\n", b"<|im_end|>\n<|im_start|>assistant\n")
    fresh = alone.run("Hello").perf["prefill_tokens"]
    # The end of the answer is read first, and no beginning of text is put before the second turn.
    assert first.perf["prefill_tokens"] == fresh
    assert driver.run("Hello", keep_history=True).perf["prefill_tokens"] == fresh


def test_tool_call_and_result(load: Load) -> None:
    driver = load()
    assert driver.set_tools(WEATHER, "You are a helpful assistant.") == 0
    call = driver.run("What is the weather in Berlin?", keep_history=True).text
    assert call == '<tool_call>{"name": "get_weather", "arguments": {"city": "Berlin"}}</tool_call>'
    answer = driver.run(prompt('{"temperature": 21, "sky": "sunny"}', role="tool"), keep_history=True).text
    assert "Berlin" in answer
    assert "sunny" in answer
    assert "21" in answer


# What is refused


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"", "no GGUF"), (b"RKLLM", "no GGUF"), (b"GGUF" + b"\1" * 99, "cannot load")],
)
def test_bad_model_file(
    load: Load, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    path = tmp_path / "bad.gguf"
    if content is not None:
        path.write_bytes(content)
    driver = load(path)
    assert driver.status == -1
    assert not driver.handle
    [line] = errors(capfd)
    assert said in line
    assert str(path) in line


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ({"max_context_len": -5}, "max_context_len"),
        ({"max_context_len": 2**31 - 1}, "memory"),
        ({"top_p": 7.0}, "top_p"),
        ({"temperature": float("nan")}, "temperature"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
    ],
)
def test_bad_init_param(load: Load, capfd: pytest.CaptureFixture[str], param: dict[str, Any], said: str) -> None:
    driver = load(**param)
    assert driver.status == -1
    [line] = errors(capfd)
    assert said in line


def _typed(input_type: int) -> RKLLMInput:
    return RKLLMInput(input_type=input_type)


def _null_embed() -> RKLLMInput:
    made = embeddings([[0.0]])
    made.embed_input.embed = None
    return made


REFUSED: list[tuple[str, Callable[[Driver], Outcome]]] = [
    ("outside of the vocabulary", lambda d: d.run(tokens([5, VOCABULARY]))),
    ("outside of the vocabulary", lambda d: d.run(tokens([-1]))),
    ("empty", lambda d: d.run(tokens([]))),
    ("does not fit", lambda d: d.run("word " * 3000)),
    ("does not fit", lambda d: d.run(tokens([10] * 1025))),
    ("embed is NULL", lambda d: d.run(_null_embed())),
    ("prompt_input is NULL", lambda d: d.run(prompt(None))),
    ("input_type 9", lambda d: d.run(_typed(9))),
    ("mode 7", lambda d: d.run("Hello", mode=7)),  # type: ignore[arg-type]
    ("adapter of the name nobody", lambda d: d.run("Hello", lora="nobody")),
    ("top_p", lambda d: d.run("Hello", sampling={"top_p": -1.0})),
    ("prompt_cache_path", lambda d: d.run("Hello", save_cache=Path())),
    ("image embeddings are NULL", lambda d: d.run(multimodal("<image>", n_image=1, n_image_tokens=1))),
    ("0 <image> tags", lambda d: d.run(one_image("no tag"))),
    ("more <image> tags", lambda d: d.run(one_image("<image><image>"))),
    ("do not fit", lambda d: d.run(one_image("<image>", n_image=2**62, n_image_tokens=2**62))),
]


@pytest.mark.parametrize(("said", "use"), REFUSED)
def test_bad_input(load: Load, capfd: pytest.CaptureFixture[str], said: str, use: Callable[[Driver], Outcome]) -> None:
    driver = load()
    outcome = use(driver)
    assert outcome.status == -1
    assert outcome.states == [], "refused before anything ran"
    [line] = errors(capfd)
    assert said in line
    assert driver.run("Hello").status == 0, "the handle is as good as before"


def test_failure_in_a_run_is_an_error_state(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    driver = load()
    assert driver.load_lora(LORA, "mad", scale=3e38) == 0
    numbers = driver.run("Hello", lora="mad")
    assert numbers.status == -1
    assert numbers.states == [ERROR], "no FINISH after an error"
    failing = load(embed=lambda *_: 3).run("Hello")
    assert failing.states == [ERROR]
    assert ["no number" in line or "returned 3" in line for line in errors(capfd)] == [True, True]
    assert driver.run("What is an NPU?").text.startswith(NPU)


def test_unwritable_prompt_cache(load: Load, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = load().run("Hello", save_cache=tmp_path / "nowhere" / "cache")
    assert outcome.status == -1
    assert outcome.states == [ERROR]
    assert len(errors(capfd)) == 1


def test_bad_files_for_a_loaded_model(load: Load, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    driver = load()
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk" * 100)
    assert driver.load_lora(junk, "x") == -1
    assert driver.load_lora(DEMO, "x") == -1
    assert driver.load_lora(tmp_path / "none", "x") == -1
    assert driver.call("load_prompt_cache", str(junk).encode()) == -1
    assert driver.call("load_prompt_cache", str(tmp_path / "none").encode()) == -1
    assert driver.call("load_prompt_cache", None) == -1
    assert len(errors(capfd)) == 6
    assert driver.run("What is an NPU?").text.startswith(NPU)


def test_truncated_prompt_cache(load: Load, tmp_path: Path) -> None:
    driver = load()
    path = tmp_path / "cache"
    driver.run("What is an NPU?", save_cache=path)
    whole = path.read_bytes()
    for length in (4, 11, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert driver.call("load_prompt_cache", str(path).encode()) == -1
    assert driver.run("What is an NPU?").text.startswith(NPU)


def test_bad_handles(load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    driver = load()
    good = driver.handle
    for handle in (None, ctypes.c_void_p(4242)):
        driver.handle = handle  # type: ignore[assignment]
        for function in ("abort", "is_running", "destroy", "release_prompt_cache"):
            assert driver.call(function) == -1
        assert driver.run("Hello").status == -1
        assert driver.clear() == -1
    driver.handle = good
    assert driver.call("abort") == -1, "nothing runs"
    assert driver.call("run", None, None, None) == -1
    assert driver.call("get_kv_cache_size", None) == -1
    assert driver.call("set_cross_attn_params", None) == -1
    assert driver.call("destroy") == 0
    assert driver.call("destroy") == -1
    driver.handle = ctypes.c_void_p()
    lines = errors(capfd)
    assert len(lines) == 17
    assert "E rkllm: cross attention is not supported by the portable runtime" in lines


def test_destroy_ends_a_background_run(load: Load) -> None:
    driver = load(ignore_eos_token=True)
    started = threading.Event()
    driver.run("Hello", function="run_async", max_new_tokens=100_000, decide=lambda *_: started.set())
    assert started.wait(10)
    assert driver.call("destroy") == 0
    driver.handle = ctypes.c_void_p()
    assert driver.outcome.states[-1] is FINISH


def test_destroy_in_a_callback(load: Load) -> None:
    driver = load()
    driver.run("Hello", decide=lambda *_: driver.call("destroy") and 0)
    assert driver.outcome.states == [NORMAL, FINISH]
    driver.handle = ctypes.c_void_p()


# Building


def test_library_names_its_version(runtime: Path) -> None:
    assert b"RKLLM SDK (version: 1.3.1 | target: portable | engine: llama.cpp " in runtime.read_bytes()
    assert build.library_path() == runtime


def test_build_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "_folders", lambda: [tmp_path / "cache"])
    with pytest.raises(build.NotBuiltError, match=re.escape(f"{sys.executable} -m rkllmd.portable.build")):
        build.library_path()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(build.CompilerMissingError, match="no-such-compiler"):
        build.build()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.CompilerMissingError, match=r"sudo apt install g\+\+"):
        build.build()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert build.main() == 1
    told = capsys.readouterr().err
    assert told.startswith(f"llama-cpp-python is not installed: {sys.executable} -m pip install llama-cpp-python==")


def test_compiler_errors_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "_folders", lambda: [tmp_path / "cache"])
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main( {")
    monkeypatch.setattr(build, "_sources", lambda: [broken])
    with pytest.raises(build.BuildError, match="error"):
        build.build()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_one_user_has_built_beside_the_code_another_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runtime: Path
) -> None:
    """Also one who may not write there, and one who has no home."""
    monkeypatch.setattr(build, "HERE", tmp_path / "code")
    monkeypatch.setattr(build, "_hash", lambda engine: "0")
    built = tmp_path / "code/build/librkllmrt-portable-0.so"
    built.parent.mkdir(parents=True)
    shutil.copy(runtime, built)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and Path(path).exists())
    assert (build.library_path(), build.build()) == (built, built)
    monkeypatch.setattr(Path, "home", no_home)
    assert build.library_path() == built


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_where_it_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build, "HERE", tmp_path / "code")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    umask = os.umask(0o077)
    try:
        assert build._writable_folder() == tmp_path / "code/build"
    finally:
        os.umask(umask)
    assert (tmp_path / "code/build").stat().st_mode & 0o777 == 0o755, "the service has another user"
    (tmp_path / "blocked").touch()
    monkeypatch.setattr(build, "HERE", tmp_path / "blocked")  # no folder: nobody can write into it, root neither
    assert build._writable_folder() == tmp_path / "cache/rkllmd"


@pytest.mark.parametrize("home", ["unknown", "empty", "relative"])
def test_without_a_home_it_is_said_where_to_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str) -> None:
    (tmp_path / "blocked").touch()
    monkeypatch.setattr(build, "HERE", tmp_path / "blocked")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    match home:
        case "unknown":
            monkeypatch.setattr(Path, "home", no_home)
        case "empty":
            monkeypatch.setenv("HOME", "")
        case "relative":
            monkeypatch.setenv("HOME", "")
            monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    with pytest.raises(build.NotBuiltError):
        build.library_path()
    with pytest.raises(build.BuildError, match="name a folder of yours in XDG_CACHE_HOME"):
        build.build()
