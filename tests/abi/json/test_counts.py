"""Counts and the data that they count: tokens, images, videos, audio, and embeddings as wide as the model's."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout
from rkllmd.errors import InvalidParams, NotSupported
from tests.abi.json.structs import EMBED, JPEG, LAYOUT_1_2, LAYOUT_1_3, LAYOUT_1_3_1, convert, refused


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("image", "n_image", "n_image_tokens"),
    [
        ({"image_embed": EMBED, "n_image_tokens": 2}, 1, 2),
        ({"image_embed": EMBED, "n_image_tokens": 2, "n_image": 2}, 2, 2),
        ({"image_embed_base64": EMBED, "n_image_tokens": 4, "n_image": 1}, 1, 4),
        ({"image_embed": [[1, 2], [3, 4]]}, 1, 2),
        ({"image_embed": [[1, 2], [3, 4]], "n_image": 2}, 2, 1),
        ({"image_embed": [[1, 2], [3, 4]], "n_image_tokens": 1}, 2, 1),
        ({"image_embed": [[[1, 2]], [[3, 4]]]}, 2, 1),
        ({"image_embed": [[[[1], [2]], [[3], [4]]]]}, 2, 2),
        ({"image_embed": {"data": EMBED, "shape": [2, 2, 1]}, "image_width": 448, "image_height": 336}, 2, 2),
    ],
)
def test_image(layout: Layout, nested: bool, image: dict[str, Any], n_image: int, n_image_tokens: int) -> None:
    """The flat form of 1.2 and the nested one of 1.3 do on both."""
    value = {"prompt": "<image>?", "image": image} if nested else {"prompt": "<image>?", **image}
    made = convert({"multimodal_input": value}, layout, "RKLLMInput").multimodal_input
    place = made if layout is LAYOUT_1_2 else made.image
    assert made.prompt == b"<image>?"
    assert (place.n_image, place.n_image_tokens, place.image_embed[:4]) == (n_image, n_image_tokens, [1, 2, 3, 4])
    assert (place.image_width, place.image_height) == ((448, 336) if "image_width" in image else (0, 0))


@pytest.mark.parametrize(
    ("value", "path", "keyword"),
    [
        ({"prompt": "x"}, "$", "required"),
        ({"prompt": "x", "image": None, "video": None, "image_embed": None}, "$", "required"),
        ({"image_embed": [[1]]}, "$", "required"),
        ({"prompt": "x", "n_image": 1}, "$", "required"),
        ({"prompt": "x", "image": {}}, "$.image", "required"),
        ({"prompt": "x", "image": 5}, "$.image", "type"),
        ({"prompt": "x", "image": {"image_embed": [[1]]}, "n_image": 1}, "$", "oneOf"),
        ({"prompt": "x", "image": {"image_embed": [[1]], "image_embed_base64": EMBED}}, "$.image", "oneOf"),
        ({"prompt": "x", "image": {"image_embed": [1, 2]}}, "$.image", "required"),
        ({"prompt": "x", "image": {"image_embed": [1, 2], "n_image_tokens": 0}}, "$.image", "shape"),
        ({"prompt": "x", "image": {"image_embed": [[1, 2]], "n_image": 0}}, "$.image", "shape"),
        ({"prompt": "x", "image": {"image_embed": [[1, 2]], "n_image": 2}}, "$.image", "shape"),
        ({"prompt": "x", "image_embed": [1, 2, 3], "n_image_tokens": 2}, "$", "shape"),
        ({"prompt": "x", "image_embed": [1, 2], "n_image_tokens": 2**63, "n_image": 2**63}, "$", "shape"),
        ({"prompt": "x", "image_embed": [[1]], "image_width": -1}, "$.image_width", "minimum"),
        ({"prompt": "x", "image": {"image_embed": [[1]], "image_width": 0.5}}, "$.image.image_width", "type"),
        ({"prompt": "x", "image": {"image_embed": [[1]], "width": 1}}, "$.image", "additionalProperties"),
        ({"prompt": "x", "image_embed": [[1]], "images": 1}, "$", "additionalProperties"),
        ({"prompt": 1, "image_embed": [[1]]}, "$.prompt", "type"),
    ],
)
def test_wrong_image(layout: Layout, value: Any, path: str, keyword: str) -> None:
    refused(value, layout, "RKLLMMultiModalInput", path, keyword)


@pytest.mark.parametrize(
    ("video", "counts"),
    [
        ({"video_embed": [[[[1]], [[2]]], [[[3]], [[4]]]]}, (2, 2, 1)),
        ({"video_embed": [[[1], [2]], [[3], [4]]]}, (1, 2, 2)),
        ({"video_embed": [[1], [2], [3], [4]], "n_frame_per_video": 2}, (1, 2, 4)),
        ({"video_embed": EMBED, "n_frame_per_video": 2, "n_frame_tokens": 2}, (1, 2, 2)),
        ({"video_embed": EMBED, "n_frame_per_video": 1, "n_frame_tokens": 2, "n_video": 2}, (2, 1, 2)),
    ],
)
def test_video(video: Any, counts: tuple[int, ...]) -> None:
    value = {"prompt": "<video>", "video": video}
    if counts == (1, 2, 4):  # four rows are not 2 frames of 4 tokens
        refused(value, LAYOUT_1_3, "RKLLMMultiModalInput", "$.video", "shape")
        return
    made = convert(value, LAYOUT_1_3, "RKLLMMultiModalInput").video
    assert (made.n_video, made.n_frame_per_video, made.n_frame_tokens) == counts
    with pytest.raises(NotSupported, match="Give the frames as images"):
        convert(value, LAYOUT_1_2, "RKLLMMultiModalInput")


def test_video_without_shape() -> None:
    value = {"prompt": "x", "video": {"video_embed": EMBED, "n_frame_tokens": 2}}
    refused(value, LAYOUT_1_3, "RKLLMMultiModalInput", "$.video", "required")


def test_image_and_video() -> None:
    video = {"video_embed": EMBED, "n_frame_per_video": 2, "n_frame_tokens": 2, "video_start": "<v>"}
    made = convert({**JPEG, "video": video}, LAYOUT_1_3, "RKLLMMultiModalInput")
    assert (made.image.n_image_tokens, made.video.n_frame_tokens, made.video.video_start) == (2, 2, b"<v>")
    made = convert({"prompt": "x", "video": video, "image": None}, LAYOUT_1_3, "RKLLMMultiModalInput")
    assert (made.image.n_image, bool(made.image.image_embed)) == (0, False)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"embed_input": {"embed": [[1.0] * 4, [2.0] * 4]}}, "$.embed_input.embed"),
        ({"embed_input": {"embed": [1.0] * 8, "n_tokens": 2}}, "$.embed_input.embed"),
        (
            {"multimodal_input": {"prompt": "x", "image_embed": [[1.0] * 4] * 6, "n_image": 2}},
            "$.multimodal_input.image_embed",
        ),
        (
            {"multimodal_input": {"prompt": "x", "image": {"image_embed": [[1.0] * 4] * 6}}},
            "$.multimodal_input.image.image_embed",
        ),
    ],
)
def test_embeddings_as_wide_as_the_models(layout: Layout, value: Any, path: str) -> None:
    convert(value, layout, "RKLLMInput", embedding_width=4)
    for width in (2, 3, 5, 8):
        with pytest.raises(InvalidParams) as caught:
            convert(value, layout, "RKLLMInput", embedding_width=width)
        assert (caught.value.data["path"], caught.value.data["limit"]) == (path, width)
        assert "rows of 4 numbers" in caught.value.message


def test_video_embeddings_as_wide_as_the_models() -> None:
    value = {"multimodal_input": {"prompt": "x", "video": {"video_embed": [[[1.0] * 4] * 3] * 2}}}
    convert(value, LAYOUTS["1.3"], "RKLLMInput", embedding_width=4)
    with pytest.raises(InvalidParams):
        convert(value, LAYOUTS["1.3"], "RKLLMInput", embedding_width=8)


@pytest.mark.parametrize(
    ("audio", "counts"),
    [
        ({"audio_embed": [[[1], [2]], [[3], [4]]]}, (2, 2)),
        ({"audio_embed": [[1], [2], [3], [4]]}, (1, 4)),
        ({"audio_embed": [[1], [2], [3], [4]], "n_audio": 2}, (2, 2)),
        ({"audio_embed": EMBED, "n_audio_tokens": 2}, (1, 2)),
        ({"audio_embed": EMBED, "n_audio_tokens": 2, "n_audio": 2, "audio_start": "<a>"}, (2, 2)),
    ],
)
def test_audio(audio: Any, counts: tuple[int, int]) -> None:
    value = {"multimodal_input": {"prompt": "<audio>", "audio": audio}}
    made = convert(value, LAYOUT_1_3_1, "RKLLMInput").multimodal_input
    assert (made.audio.n_audio, made.audio.n_audio_tokens, made.audio.audio_embed[:4]) == (*counts, [1, 2, 3, 4])
    assert made.audio.audio_start == audio.get("audio_start", "").encode() or made.audio.audio_start is None
    assert not made.image.image_embed
    assert not made.video.video_embed


@pytest.mark.parametrize(
    ("audio", "path", "keyword"),
    [
        ({}, "$.audio.audio_embed", "required"),
        (5, "$.audio", "type"),
        ({"audio_embed": EMBED}, "$.audio", "required"),
        ({"audio_embed": [[1]], "n_audio": 0}, "$.audio", "shape"),
        ({"audio_embed": [[1], [2]], "n_audio_tokens": 3}, "$.audio", "shape"),
        ({"audio_embed": [[1]], "audio_width": 1}, "$.audio", "additionalProperties"),
        ({"audio_embed": [[1]], "audio_content": 1}, "$.audio.audio_content", "type"),
    ],
)
def test_wrong_audio(audio: Any, path: str, keyword: str) -> None:
    with pytest.raises(InvalidParams) as caught:
        convert({"prompt": "x", "audio": audio}, LAYOUT_1_3_1, "RKLLMMultiModalInput")
    assert (caught.value.data["path"].startswith(path.removesuffix(".audio_embed")), caught.value.data["keyword"]) == (
        True,
        keyword,
    )


def test_audio_embeddings_as_wide_as_the_models() -> None:
    value = {"multimodal_input": {"prompt": "x", "audio": {"audio_embed": [[[1.0] * 4] * 3] * 2}}}
    convert(value, LAYOUT_1_3_1, "RKLLMInput", embedding_width=4)
    with pytest.raises(InvalidParams, match="rows of 4 numbers"):
        convert(value, LAYOUT_1_3_1, "RKLLMInput", embedding_width=8)


def test_tokens(layout: Layout) -> None:
    tokens = convert({"token_input": {"input_ids": [5, 6, 7]}}, layout, "RKLLMInput").token_input
    assert (tokens.n_tokens, tokens.input_ids[:3]) == (3, [5, 6, 7])
    assert convert({"input_ids": [5, 6], "n_tokens": 2}, layout, "RKLLMTokenInput").n_tokens == 2


@pytest.mark.parametrize(
    ("embed", "n_tokens"),
    [
        ({"embed": [1, 2, 3, 4], "n_tokens": 2}, 2),
        ({"embed": [[1, 2], [3, 4]]}, 2),
        ({"embed": [[[1, 2], [3, 4]]]}, 2),
        ({"embed": EMBED, "n_tokens": 4}, 4),
        ({"embed": {"data": EMBED, "shape": [1, 4]}}, 1),
    ],
)
def test_embeddings(layout: Layout, embed: Any, n_tokens: int) -> None:
    made = convert({"embed_input": embed}, layout, "RKLLMInput").embed_input
    assert (made.n_tokens, made.embed[:4]) == (n_tokens, [1, 2, 3, 4])


def test_cross_attn(layout: Layout) -> None:
    value: dict[str, Any] = {
        "encoder_k_cache": [1] * 4,
        "encoder_v_cache": [2] * 4,
        "encoder_mask": [1, 1],
        "encoder_pos": [0, 1],
    }
    made = convert(value, layout, "RKLLMCrossAttnParam")
    assert (made.num_tokens, made.encoder_k_cache[3], made.encoder_pos[1]) == (2, 1, 1)
    for name in value:
        refused({**value, name: None}, layout, "RKLLMCrossAttnParam", "$", "required")
    refused({**value, "num_tokens": 4}, layout, "RKLLMCrossAttnParam", "$.num_tokens", "const")
    refused({**value, "encoder_mask": [1]}, layout, "RKLLMCrossAttnParam", "$", "shape")
    refused({**value, "encoder_v_cache": [1] * 6}, layout, "RKLLMCrossAttnParam", "$", "shape")
    refused(
        {**value, "encoder_k_cache": [1] * 3, "encoder_v_cache": [1] * 3}, layout, "RKLLMCrossAttnParam", "$", "shape"
    )
