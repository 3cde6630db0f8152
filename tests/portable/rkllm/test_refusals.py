"""What the portable RKLLM runtime refuses, and what it says."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm_1_3_1 import RKLLMInput
from rkllmd.portable.driver import Driver, Outcome, embeddings, prompt, tokens
from tests.portable.rkllm.common import (
    DEMO,
    ERROR,
    FINISH,
    LORA,
    NORMAL,
    NPU,
    VOCABULARY,
    Load,
    errors,
    multimodal,
    one_image,
)

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
