"""What is loaded, the KV cache, and what the simulator shows of its inputs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm_common import (
    LLMGetEmbedCallback,
    LLMTokenizerCallback,
    RKLLMCrossAttnParam,
    RKLLMLoraAdapter,
    RKLLMLoraParam,
    RKLLMPromptCacheParam,
)
from tests.simulator.player import FINISH, NORMAL, Model, Simulator, stop_at

# ---- what is loaded -------------------------------------------------------------------------------------------------


def test_model_files(simulator: Simulator, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.rkllm"
    assert simulator.load(path).status == -1
    path.touch()
    assert simulator.load(path).status == 0
    for content in (b"SIM", b"GGUF....", b"SIMMODE!"):
        path.write_bytes(content)
        assert simulator.load(path).status == -1
        assert "E rkllm: invalid rknn llm model magic" in capfd.readouterr().err


def test_context_limit(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    assert load("context_limit=4096", max_context_len=8192).status == -1
    assert "max_context[8192] must be less than the model's max_context_limit[4096]" in capfd.readouterr().err


def test_lora(load: Callable[..., Model], model_file: Path) -> None:
    model = load()
    wanted = model.infer(lora_params=ctypes.pointer(RKLLMLoraParam(b"coding")))
    assert model.play(infer=wanted)[0] == -1
    assert model.load_lora(ctypes.byref(RKLLMLoraAdapter(b"/nonexistent", b"coding", 1.0))) == -1
    assert model.load_lora(ctypes.byref(RKLLMLoraAdapter(str(model_file).encode(), b"coding", 1.0))) == 0
    assert model.play(infer=wanted)[1].output == b"<lora:coding>[user] hello"
    assert model.play()[1].output == b"[user] hello"


def test_prompt_cache(load: Callable[..., Model], tmp_path: Path) -> None:
    model, path = load(), tmp_path / "cache"
    name = str(path).encode()
    assert model.load_prompt_cache(name) == -1
    save = model.infer(prompt_cache_params=ctypes.pointer(RKLLMPromptCacheParam(1, name)))
    assert model.play(b"hello", save)[0] == 0
    assert path.read_bytes() == b"hello"
    assert model.load_prompt_cache(name) == 0
    assert model.load_prompt_cache(name) == -1
    assert model.play(b"help!")[1].events[-1].prefill_tokens == 2
    assert model.release_prompt_cache() == 0
    assert model.play(b"help!")[1].events[-1].prefill_tokens == 5


# ---- KV cache -------------------------------------------------------------------------------------------------------


def test_kv_cache(load: Callable[..., Model]) -> None:
    model = load("text=abcd")
    assert model.kv() == [0]
    keep = model.infer(keep_history=1)
    model.play(infer=keep)
    assert model.kv() == [5 + 2]
    model.play(infer=keep)
    assert model.kv() == [14]
    model.play()
    assert model.kv() == [7]
    assert model.set_chat_template(b"system", b"", b"") == 0
    model.play()
    assert model.kv() == [6 + 7]
    assert (model.clear_kv_cache(1, None, None), model.kv()) == (0, [6])
    assert (model.clear_kv_cache(0, None, None), model.kv()) == (0, [0])


def test_kv_ranges(load: Callable[..., Model]) -> None:
    def clear(start: list[int], end: list[int]) -> int:
        return model.clear_kv_cache(0, (ctypes.c_int * 2)(*start), (ctypes.c_int * 2)(*end))

    model = load("text=abcdef;batch_step=1", n_batch=2)
    model.play(model.inputs([b"hello", b"hi"]))
    assert model.kv() == [5 + 3, 2 + 2]
    assert clear([0, 0], [8, 5]) == -1
    assert clear([0, 3], [8, 2]) == -1
    assert clear([-1, 0], [1, 1]) == -1
    assert model.kv() == [8, 4]
    assert clear([2, 0], [8, 4]) == 0
    assert model.kv() == [2, 0]
    assert model.clear_kv_cache(0, (ctypes.c_int * 2)(), None) == -1
    model = load("text=abcdef;kv_ranges_need_pause=1", n_batch=2)
    model.play(model.inputs([b"hello", b"hi"]))
    assert clear([0, 0], [1, 1]) == -1
    model.play(model.inputs([b"hello", b"hi"]), reply=stop_at(0))
    assert clear([0, 0], [1, 1]) == 0


# ---- inputs ---------------------------------------------------------------------------------------------------------


def test_tokens_and_embeddings(load: Callable[..., Model]) -> None:
    model = load("embd=4;echo_hash=0")
    ids = (ctypes.c_int32 * 4)(1, 2, 3, 4)
    given = model.input(input_type=1)
    given.token_input.input_ids, given.token_input.n_tokens = ids, 4
    assert model.play(given)[1].output == b"[user] [tokens n=4 sum=10]"
    floats = (ctypes.c_float * 8)(1.5)
    given = model.input(input_type=2)
    given.embed_input.embed, given.embed_input.n_tokens = floats, 2
    recorder = model.play(given)[1]
    assert recorder.output == b"[user] [embed n=2 sum=1.5]"
    assert recorder.events[-1].prefill_tokens == 2
    model = load("embd=4;echo_hash=1")
    first = model.play(given)[1].output
    floats[0], floats[1] = 0, 1.5
    assert re.fullmatch(rb"\[user\] \[embed n=2 sum=1.5 hash=[0-9a-f]{16}\]", first)
    assert model.play(given)[1].output != first


def test_images_videos_and_audio(load: Callable[..., Model], simulator: Simulator) -> None:
    tags = {"img_start": b"<i>", "img_end": b"</i>", "img_content": b"<p>"}
    model = load("embd=2", **({} if simulator.is_1_3 else tags))
    given = model.input(input_type=3)
    multimodal = given.multimodal_input
    multimodal.prompt = b"what is it?"
    image = multimodal.image if simulator.is_1_3 else multimodal
    image.image_embed = (ctypes.c_float * 12)(0.5, 0.25)
    image.n_image, image.n_image_tokens, image.image_width, image.image_height = 2, 3, 392, 196
    expected = b"[user] what is it?[image n=2x3 sum=0.75 size=392x196 tags=<i>,</i>,<p>]"
    if simulator.is_1_3:
        image.image_start, image.image_end, image.image_content = b"<i>", b"</i>", b"<p>"
        video = multimodal.video
        video.video_embed = (ctypes.c_float * 12)(*[1.0] * 12)
        video.n_video, video.n_frame_per_video, video.n_frame_tokens = 1, 2, 3
        video.frame_width, video.frame_height, video.video_content = 10, 20, b"<v>"
        expected += b"[video n=1x2x3 sum=12 size=10x20 tags=,,<v>]"
    if hasattr(multimodal, "audio"):
        audio = multimodal.audio
        audio.audio_embed = (ctypes.c_float * 6)(*[0.5] * 6)
        audio.n_audio, audio.n_audio_tokens, audio.audio_start, audio.audio_end = 1, 3, b"<a>", b"</a>"
        expected += b"[audio n=1x3 sum=3 tags=<a>,</a>,]"
    assert model.play(given)[1].output == expected


def test_empty_inputs_are_refused(load: Callable[..., Model], capfd: pytest.CaptureFixture[str]) -> None:
    model = load()
    given = model.input(input_type=2)
    given.embed_input.n_tokens = 3
    for broken in (model.input(), given, model.input(input_type=3), model.input(input_type=9)):
        assert model.play(broken)[0] == -1
        assert "SIMULATOR: an input of type" in capfd.readouterr().err
    assert model.play(infer=model.infer(mode=7))[0] == -1
    assert model.simulator.dll.rkllm_run(model.handle, None, None, None) == -1
    assert model.play()[0] == 0


def test_templates_and_tools(load: Callable[..., Model]) -> None:
    model = load()
    assert model.set_chat_template(b"be brief", b"<u>", b"</u>") == 0
    assert model.play(model.input(b"hi", enable_thinking=True))[1].output == b"[system] be brief [user] <u>hi</u>"
    model = load()
    assert model.set_function_tools(b"", b'[{"name":"f"}]', b"tool_response") == 0
    assert model.play(b"hi")[1].output == b'<tool_call>[{"name":"f"}]</tool_call>[user] hi'
    assert model.play(model.input(b"42", role=b"tool"))[1].output == b"[tool] <tool_response>42</tool_response>"


def test_cross_attention(load: Callable[..., Model]) -> None:
    params = RKLLMCrossAttnParam(
        (ctypes.c_float * 16)(1.0, 2.0),
        (ctypes.c_float * 16)(4.0),
        (ctypes.c_float * 2)(1.0, 1.0),
        (ctypes.c_int32 * 2)(0, 1),
        2,
    )
    assert load().set_cross_attn_params(ctypes.byref(params)) == -1
    model = load(use_cross_attn=1)
    assert model.set_cross_attn_params(ctypes.byref(RKLLMCrossAttnParam())) == -1
    assert model.set_cross_attn_params(ctypes.byref(params)) == 0
    assert model.play()[1].output == b"[cross n=2 k=3 v=4 mask=2 pos=1] [user] hello"
    params.encoder_k_cache[0] = 9.0
    assert model.play()[0] == -1  # the arrays must stay as they are


def test_sampling_is_shown(load: Callable[..., Model], simulator: Simulator) -> None:
    model = load("echo_params=1", top_k=40, temperature=0.5, mirostat=2)
    output = model.play()[1].output
    assert output.startswith(b"[params top_k=40 top_p=0.9 temperature=0.5 repeat_penalty=1.1 ")
    assert b" mirostat=2 mirostat_tau=5 mirostat_eta=0.1 max_new_tokens=256] [user] hello" in output
    if simulator.is_1_3:
        sampling = simulator.layout["RKLLMSamplingParam"](top_k=7, top_p=0.25)
        infer = model.infer(sampling_params=ctypes.pointer(sampling), max_new_tokens=150)
        output = model.play(infer=infer)[1].output
        assert output.startswith(b"[params top_k=7 top_p=0.25 temperature=0 ")
        assert b"max_new_tokens=150]" in output


@pytest.mark.parametrize("layout", ["1.3", "1.3.1"], indirect=True)
def test_tokenizer_and_embed_callbacks(load: Callable[..., Model]) -> None:
    calls: list[tuple[bytes, int, int]] = []

    def tokenize(_userdata: int, text: Any, length: int, tokens: Any, room: int) -> int:
        ids = ctypes.string_at(text, length)
        tokens[0], tokens[1], tokens[2] = 11, 22, 33
        calls.append((ids, length, room))
        return -1 if ids == b"bad" else 3

    def embed(_userdata: int, tokens: Any, count: int, buffer: int, size: int) -> int:
        assert size == count * 8 * 4
        floats = (ctypes.c_float * (count * 8)).from_address(buffer)
        for i in range(count):
            floats[i * 8] = tokens[i]
        return 0

    embedder = LLMGetEmbedCallback(embed)
    model = load("embed_each_token=1", tokenizer_callback=LLMTokenizerCallback(tokenize), embed_callback=embedder)
    status, recorder = model.play()
    assert (status, recorder.output) == (0, b"[user] [ids n=3] [embed_callback n=3 sum=66] hello")
    assert calls == [(b"hello", 5, 512)]
    assert recorder.events[-1].prefill_tokens == 3
    assert model.play(b"bad")[0] == -1
    model = load(embed_callback=embedder)
    assert model.play(b"a")[1].output == b"[user] [embed_callback n=1 sum=97] a"


# ---- batches, hidden states, logits ---------------------------------------------------------------------------------


def test_batch(load: Callable[..., Model]) -> None:
    model = load("tokens=words", n_batch=2)
    status, recorder = model.play(model.inputs([b"one two", b"three"]))
    assert status == 0
    assert [event.batch for event in recorder.events] == [
        [(b"[user] ", 100), (b"[user] ", 100)],
        [(b"one ", 101), (b"three", 101)],
        [(b"two", 102), (None, -1)],
        [(None, 0), (None, 0)],
    ]


@pytest.mark.parametrize(("mode", "width"), [(1, 5), (2, 3)])
def test_rows(load: Callable[..., Model], simulator: Simulator, mode: int, width: int) -> None:
    model = load("embd=5;vocab=3")
    recorder = model.play(b"abcd", model.infer(mode=mode))[1]
    expected = [[float((i * width + j) % 7 - 3) for j in range(width)] for i in range(4)]
    assert recorder.states == [NORMAL, FINISH]
    assert recorder.events[0].rows == expected
    status, recorder = load("embd=5;vocab=3;rows=1").play(
        b"abcd", model.infer(mode=mode), reply=lambda event: 2 * (event.state == NORMAL)
    )
    assert (status, recorder.events[0].rows) == (0, expected[-1:])
    assert simulator.simulator_freed_buffers() == simulator.is_1_3
    assert simulator.simulator_complaints() == (not simulator.is_1_3)  # 1.2 does not know 2
