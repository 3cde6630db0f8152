"""No prompt has more placeholders (``<image>``) than media: the runtime would read behind the embeddings."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.rkllm.board import Board

WIDTH = 8


def embed(*shape: int) -> dict[str, Any]:
    count = WIDTH
    for size in shape:
        count *= size
    return {"data": base64.b64encode(struct.pack(f"<{count}f", *[0.5] * count)).decode(), "shape": [*shape, WIDTH]}


IMAGE = {"image_embed": embed(1, 2)}
TWO_IMAGES = {"image_embed": embed(2, 2)}
TAGS = {"image_start": "<i>", "image_end": "</i>", "image_content": "<pad>"}
SINCE_1_3 = pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
ONLY_1_3_1 = pytest.mark.parametrize("version", ["1.3.1"])


def refuse(board: Board, params: dict[str, Any], path: str, placeholder: str, limit: int) -> None:
    for method in ("rkllm.run", "rkllm.run_async"):
        error = board.refused(method, params)
        assert (error["code"], error["path"], error["keyword"]) == (-32602, path, "placeholder"), error
        assert (error["placeholder"], error["limit"]) == (placeholder, limit)
        assert placeholder in error["message"]


def test_a_word_for_an_image_in_a_text_without_one(board: Board) -> None:
    board.load()
    refuse(board, {"prompt": "What is <image>?"}, "$.prompt", "<image>", 0)
    refuse(board, {"prompt_input": "<image>"}, "$.prompt_input", "<image>", 0)
    named = {"rkllm_input": {"prompt_input": "<image>", "role": "tool"}}
    refuse(board, named, "$.rkllm_input.prompt_input", "<image>", 0)
    assert board.say("What is < image>, image> or <Image>?") == "[user] What is < image>, image> or <Image>?"


def test_more_words_than_images(board: Board) -> None:
    board.load()
    refuse(
        board, {"multimodal_input": {"prompt": "<image><image>", **IMAGE}}, "$.multimodal_input.prompt", "<image>", 1
    )
    three = {"multimodal": {"prompt": "<image>, <image> and <image>", "image": TWO_IMAGES}}
    refuse(board, three, "$.multimodal.prompt", "<image>", 2)
    for prompt in ("<image> and <image>?", "<image> alone", "no word"):
        answer = board.result("rkllm.run", {"multimodal_input": {"prompt": prompt, **TWO_IMAGES}})
        assert answer["text"].startswith(f"[user] {prompt}[image n=2x2")


def test_the_second_input_of_a_batch(board: Board) -> None:
    board.load(extend_param={"n_batch": 2})
    refuse(board, {"rkllm_input": [{"prompt": "a"}, {"prompt": "<image>"}]}, "$.rkllm_input[1].prompt", "<image>", 0)


@SINCE_1_3
def test_the_words_that_an_input_brings_itself(board: Board) -> None:
    """A prompt may have the model's own marks already, once for each image."""
    board.load()
    for prompt, word in (
        ("<image> <pad>", "<image>"),
        ("<pad><pad>", "<pad>"),
        ("<image> <i> <i>", "<i>"),
        ("<image> </i></i>", "</i>"),
    ):
        refuse(board, {"multimodal_input": {"prompt": prompt, **IMAGE, **TAGS}}, "$.multimodal_input.prompt", word, 1)
    for prompt in ("<i><pad></i> and words", "<i><image></i>", "<pad>"):
        assert prompt in board.result("rkllm.run", {"multimodal_input": {"prompt": prompt, **IMAGE, **TAGS}})["text"]


@pytest.mark.parametrize("version", ["1.2.3"])
def test_the_words_that_the_load_brought_in_1_2(board: Board) -> None:
    board.load(img_start="<i>", img_end="</i>", img_content="<pad>")
    refuse(board, {"prompt": "a <pad>"}, "$.prompt", "<pad>", 0)
    refuse(board, {"prompt": "a <i>"}, "$.prompt", "<i>", 0)
    refuse(board, {"multimodal_input": {"prompt": "<image><pad>", **IMAGE}}, "$.multimodal_input.prompt", "<image>", 1)
    assert board.say("<video> and <audio> mean nothing there").endswith("<video> and <audio> mean nothing there")


@SINCE_1_3
def test_a_word_for_a_video_without_one(board: Board) -> None:
    board.load()
    refuse(board, {"prompt": "Write a <video> element."}, "$.prompt", "<video>", 0)
    multimodal = {"prompt": "<image><video>", "image": IMAGE}
    refuse(board, {"multimodal_input": multimodal}, "$.multimodal_input.prompt", "<video>", 0)
    both = {"prompt": "<image><video>", "image": IMAGE, "video": {"video_embed": embed(1, 2)}}
    assert "[video n=1x1x2" in board.result("rkllm.run", {"multimodal_input": both})["text"]


@ONLY_1_3_1
def test_a_word_for_audio_without_any(board: Board) -> None:
    board.load()
    refuse(board, {"prompt": "<audio>"}, "$.prompt", "<audio>", 0)
    audio = {"audio_embed": embed(1, 2), "audio_content": "<s>"}
    refuse(
        board, {"multimodal_input": {"prompt": "<audio><s>", "audio": audio}}, "$.multimodal_input.prompt", "<audio>", 1
    )
    heard = board.result("rkllm.run", {"multimodal_input": {"prompt": "<audio>?", "audio": audio}})
    assert heard["text"] == "[user] <audio>?[audio n=1x2 sum=8 tags=,,<s>]"


def test_texts_that_stand_beside_every_prompt(board: Board) -> None:
    board.load()
    for method, field in (
        ("rkllm.set_chat_template", "prompt_prefix"),
        ("rkllm.set_chat_template", "system_prompt"),
        ("rkllm.set_function_tools", "system_prompt"),
        ("rkllm.set_function_tools", "tools"),
    ):
        other = {"tools": "[]"} if "tools" in method else {}
        error = board.refused(method, {**other, field: '["<image>"]'})
        assert (error["path"], error["keyword"]) == (f"$.{field}", "placeholder")
    for tools in ([{"description": "shows an <image>"}], '[{"description": "shows an \\u003cimage>"}]'):
        error = board.refused("rkllm.set_function_tools", {"tools": tools})
        assert (error["path"], error["keyword"]) == ("$.tools", "placeholder")


def test_the_template_of_a_declared_model(start: Callable[..., Daemon], tmp_path: Path) -> None:
    model = tmp_path / "model.rkllm"
    model.touch()
    settings = tmp_path / "rkllmd.toml"
    settings.write_text(f'[models.a]\nmodel_path = "{model}"\nchat_template = {{prompt_prefix = "<image>"}}\n')
    daemon = start("--config", str(settings))
    with daemon.connect() as wire:
        error = wire.ask("rkllm.init", {"model_path": "a"})["error"]
        assert error["data"]["path"] == "models.a.chat_template.prompt_prefix"
    assert daemon.calls("rkllm_init") == 0


def test_what_a_model_has_said_itself_is_told_again_as_mere_words(start: Callable[..., Daemon]) -> None:
    """A session that is given to the model anew is one prompt, answers included; the simulator would complain."""
    daemon = start(changing=True, version="1.3.1")
    daemon.load(max_new_tokens=0)
    daemon.play(text="I see <image> and <audio>")
    with daemon.connect() as wire, daemon.connect() as other:
        wire.ask("rkllm.run", {"prompt": "Hi"}, session="kitchen")
        other.ask("rkllm.run", {"prompt": "Somebody else"})
        daemon.play()
        answer = wire.ask("rkllm.run", {"prompt": "Again"}, session="kitchen")["result"]
    assert answer["session"]["replayed_turns"] == 1
    assert "I see < image> and < audio>" in answer["text"]
