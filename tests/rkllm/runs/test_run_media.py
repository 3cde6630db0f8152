"""rkllm.run with images, videos and audio, in all their JSON forms, as C sees them."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import pytest

from tests.rkllm.board import Board
from tests.rkllm.runs.inputs import BOTH, TENSOR, WIDTH, base64_of, floats, fnv1a, text_of

IMAGES: dict[str, Any] = {
    "flat": {"image_embed": TENSOR},
    "nested": {"image": {"image_embed": TENSOR}},
    "flat with counts": {"image_embed": floats([0.5] * 4 * WIDTH), "n_image": 1, "n_image_tokens": 4},
    "nested with counts": {"image": {"image_embed": [0.5] * 4 * WIDTH, "n_image": 1, "n_image_tokens": 4}},
    "image_embed_base64": {"image_embed_base64": floats([0.5] * 4 * WIDTH), "n_image_tokens": 4},
    "nested image_embed_base64": {"image": {"image_embed_base64": floats([0.5] * 4 * WIDTH), "n_image_tokens": 4}},
    "float16": {
        "image_embed": {
            "data": base64_of(struct.pack(f"<{4 * WIDTH}e", *[0.5] * 4 * WIDTH)),
            "dtype": "float16",
            "shape": [1, 4, WIDTH],
        }
    },
}


@BOTH
@pytest.mark.parametrize("form", IMAGES)
@pytest.mark.parametrize("member", ["multimodal_input", "multimodal"])
def test_an_image_in_both_json_forms(board: Board, method: str, form: str, member: str) -> None:
    board.load()
    image = dict(IMAGES[form])
    if "image" in image:
        image["image"] = {**image["image"], "image_width": 392, "image_height": 256}
    else:
        image |= {"image_width": 392, "image_height": 256}
    params = {member: {"prompt": "<image>What?", **image}}
    expected = "[user] <image>What?[image n=1x4 sum=16 size=392x256]"
    assert text_of(board, method, params) == expected
    for input_type in (3, "RKLLM_INPUT_MULTIMODAL"):
        assert text_of(board, method, {**params, "input_type": input_type}) == expected


def test_several_images(board: Board) -> None:
    board.load()
    board.script(echo_hash=1)
    values = [float(index) for index in range(3 * 2 * WIDTH)]
    for image in (
        {"image_embed": {"data": floats(values), "shape": [3, 2, WIDTH]}},
        {"image_embed": floats(values), "n_image": 3, "n_image_tokens": 2},
        {"image_embed": {"data": floats(values), "shape": [6, WIDTH]}, "n_image": 3},
    ):
        hashed = fnv1a(array("f", values).tobytes())
        expected = f"[user] What?[image n=3x2 sum={sum(values):g} hash={hashed} size=0x0]"
        assert board.result("rkllm.run", {"multimodal": {"prompt": "What?", **image}})["text"] == expected


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_image_tags_of_one_input(board: Board) -> None:
    board.load()
    tags = {"image_start": "<i>", "image_end": "</i>", "image_content": "<p>"}
    flat = {"prompt": "What?", "image_embed": TENSOR, **tags}
    nested = {"prompt": "What?", "image": {"image_embed": TENSOR, **tags}}
    for multimodal in (flat, nested):
        text = board.result("rkllm.run", {"multimodal_input": multimodal})["text"]
        assert text == "[user] What?[image n=1x4 sum=16 size=0x0 tags=<i>,</i>,<p>]"


@pytest.mark.parametrize("version", ["1.2.3"])
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("tag", ["image_start", "image_end", "image_content"])
def test_image_tags_of_one_input_are_not_in_1_2(board: Board, tag: str, nested: bool) -> None:
    board.load()
    image = {"image_embed": TENSOR, tag: "<i>"}
    multimodal = {"prompt": "What?", **({"image": image} if nested else image)}
    error = board.refused("rkllm.run", {"multimodal_input": multimodal})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.0 or 1.3.1")
    assert "rkllm.init" in error["message"], "it says where 1.2 takes them"


VIDEO = {
    "video_embed": {"data": floats([0.25] * 2 * 3 * WIDTH), "shape": [2, 3, WIDTH]},
    "video_start": "<v>",
    "video_end": "</v>",
    "video_content": "<f>",
    "frame_width": 64,
    "frame_height": 48,
}
SHOWN_VIDEO = "[video n=1x2x3 sum=12 size=64x48 tags=<v>,</v>,<f>]"


@pytest.mark.parametrize("version", ["1.3.0", "1.3.1"])
def test_a_video_alone_and_beside_an_image(board: Board) -> None:
    board.load()
    alone = {"prompt": "What?", "video": VIDEO}
    assert board.result("rkllm.run", {"multimodal_input": alone})["text"] == f"[user] What?{SHOWN_VIDEO}"
    both = {**alone, "image": {"image_embed": TENSOR}}
    text = board.result("rkllm.run", {"multimodal_input": both})["text"]
    assert text == f"[user] What?[image n=1x4 sum=16 size=0x0]{SHOWN_VIDEO}"
    counted = {
        "video_embed": floats([0.25] * 6 * WIDTH),
        "n_video": 1,
        "n_frame_per_video": 2,
        "n_frame_tokens": 3,
    }
    text = board.result("rkllm.run", {"multimodal_input": {"prompt": "What?", "video": counted}})["text"]
    assert text == "[user] What?[video n=1x2x3 sum=12 size=0x0]"


@pytest.mark.parametrize("version", ["1.2.3"])
def test_video_is_not_in_1_2(board: Board) -> None:
    board.load()
    multimodal = {"prompt": "What?", "image": {"image_embed": TENSOR}, "video": VIDEO}
    error = board.refused("rkllm.run", {"multimodal_input": multimodal})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.0 or 1.3.1")


AUDIO = {
    "audio_embed": {"data": floats([0.25] * 2 * 3 * WIDTH), "shape": [2, 3, WIDTH]},
    "audio_start": "<a>",
    "audio_end": "</a>",
    "audio_content": "<s>",
}
SHOWN_AUDIO = "[audio n=2x3 sum=12 tags=<a>,</a>,<s>]"


@pytest.mark.parametrize("version", ["1.3.1"])
def test_audio_alone_and_beside_an_image_and_a_video(board: Board) -> None:
    board.load()
    alone = {"prompt": "What?", "audio": AUDIO}
    assert board.result("rkllm.run", {"multimodal_input": alone})["text"] == f"[user] What?{SHOWN_AUDIO}"
    everything = {**alone, "image": {"image_embed": TENSOR}, "video": VIDEO}
    text = board.result("rkllm.run", {"multimodal_input": everything})["text"]
    assert text == f"[user] What?[image n=1x4 sum=16 size=0x0]{SHOWN_VIDEO}{SHOWN_AUDIO}"
    counted = {"audio_embed": floats([0.25] * 6 * WIDTH), "n_audio_tokens": 6}
    text = board.result("rkllm.run", {"multimodal": {"prompt": "What?", "audio": counted}})["text"]
    assert text == "[user] What?[audio n=1x6 sum=12]"


@pytest.mark.parametrize("version", ["1.3.1"])
def test_inputs_of_a_batch_are_as_wide_as_those_of_1_3_1(board: Board) -> None:
    """The second one lies behind the first, 208 bytes further: with the layout of 1.3.0 C would read it elsewhere."""
    board.load(extend_param={"n_batch": 2})
    inputs = [{"multimodal_input": {"prompt": prompt, "audio": AUDIO}} for prompt in ("a", "b")]
    answer = board.result("rkllm.run", {"rkllm_input": inputs})
    assert [entry["text"] for entry in answer["batch"]] == [f"[user] {prompt}{SHOWN_AUDIO}" for prompt in ("a", "b")]


@pytest.mark.parametrize("version", ["1.2.3", "1.3.0"])
def test_audio_is_not_in_earlier_runtimes(board: Board, version: str) -> None:
    board.load()
    multimodal = {"prompt": "What?", "image": {"image_embed": TENSOR}, "audio": AUDIO}
    error = board.refused("rkllm.run", {"multimodal_input": multimodal})
    assert (error["code"], error["kind"], error["needs"]) == (-32008, "NotSupported", "1.3.1")
    assert error["runtime"] == f"rkllm {version}"
