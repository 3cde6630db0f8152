"""What reaches the model of the portable RKLLM runtime: adapters, embeddings, media, templates and tools."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from rkllmd.portable.demo.text import layout
from rkllmd.portable.driver import Driver, Outcome, embeddings, floats, prompt, tokens
from tests.portable.rkllm.common import (
    FINISH,
    HIDDEN,
    LOGITS,
    LORA,
    NORMAL,
    NPU,
    VOCABULARY,
    WEATHER,
    WIDTH,
    Load,
    multimodal,
    prompt_tokens,
)

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
