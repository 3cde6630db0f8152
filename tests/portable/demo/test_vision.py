"""The vision demo: the classifier of digits, and the encoder that shows them to the demo language model."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw

from rkllmd.portable.demo.vision.draw import SIZE, draw_digit
from rkllmd.portable.demo.vision.evaluate import FOLDER, Vision, accuracy
from tests.daemon import Daemon
from tests.portable.gguf_rows import tensor_rows

WIDTH = 128  # of the demo language model's embeddings
FILES = ("digits.onnx", "digits_encoder.onnx")
LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def vision() -> Vision:
    return Vision()


# Pictures


def test_a_seed_gives_the_same_picture_and_another_seed_another_one() -> None:
    for plain in (False, True):
        first = draw_digit(4, seed=1, plain=plain)
        assert (first.mode, first.size) == ("RGB", (48, 48))
        assert draw_digit(4, seed=1, plain=plain).tobytes() == first.tobytes()
        others = [draw_digit(4, seed=2, plain=plain), draw_digit(5, seed=1, plain=plain), draw_digit(4, plain=plain)]
        assert first.tobytes() not in [other.tobytes() for other in others]


# Models


@pytest.mark.parametrize("plain", [False, True])
def test_the_classifier_reads_pictures_it_has_never_seen(vision: Vision, plain: bool) -> None:
    assert accuracy(vision, 200, plain) >= 0.97


def test_a_picture_of_another_size_is_read_too(vision: Vision) -> None:
    """A seven as drawn with a mouse: three points and a thick brush."""
    picture = Image.new("RGB", (280, 280), "white")
    ImageDraw.Draw(picture).line([(70, 60), (210, 60), (120, 230)], "black", 26, joint="curve")
    assert vision.digit(picture) == 7


def test_a_sure_score_is_nearly_one(vision: Vision) -> None:
    scores = vision.scores(draw_digit(3, seed=0, plain=True))
    assert scores.dtype == np.int8
    assert scores.shape == (10,)
    # The scores' quantisation, as digits.onnx states it.
    assert (scores[3] + 128.0) / 255 > 0.95


@pytest.mark.parametrize("name", FILES)
def test_the_files_say_what_they_are(name: str) -> None:
    session = onnxruntime.InferenceSession(FOLDER / name, providers=["CPUExecutionProvider"])
    (image,), (output,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(int8)", [1, 3, SIZE, SIZE])
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["labels"]) == LABELS
    quantisation = json.loads(properties["rknn_quant"])
    assert quantisation["image"] == [1.0, -128]
    if name == "digits.onnx":
        assert (output.name, output.type, output.shape) == ("scores", "tensor(int8)", [1, 10])
        assert quantisation["scores"] == [1 / 255, -128]
    else:
        assert (output.name, output.type, output.shape) == ("image_embed", "tensor(float)", [1, 1, WIDTH])
        assert quantisation.keys() == {"image"}


def test_the_labels_are_also_a_file() -> None:
    assert (FOLDER / "digits.txt").read_text().split() == LABELS


def test_files_are_small() -> None:
    assert all((FOLDER / name).stat().st_size < 200_000 for name in FILES)


# Together with the language model


def test_a_picture_is_encoded_as_the_digit_is_embedded(vision: Vision) -> None:
    """The nearest of all the language model's embeddings is that of one token, and each digit has its own."""
    table = np.array(tensor_rows(FOLDER / "demo.gguf", "token_embd.weight"), np.float32)
    nearest = set()
    for digit in range(10):
        embedding = vision.embedding(draw_digit(digit, seed=0, plain=True))
        assert (embedding.dtype, embedding.shape) == (np.dtype(np.float32), (1, 1, WIDTH))
        distances = np.abs(table - embedding[0]).max(axis=1)
        assert distances.min() < 1e-3
        nearest.add(int(distances.argmin()))
    assert len(nearest) == 10


def test_the_language_model_calculates_with_pictures(start: Callable[..., Daemon], vision: Vision) -> None:
    def embedding(*digits: int) -> str:
        rows = [vision.embedding(draw_digit(digit, seed=digit)) for digit in digits]
        return base64.b64encode(np.concatenate(rows).tobytes()).decode()

    daemon = start("--model", "demo", runtime="portable", cold=True)
    asked: list[tuple[str, tuple[int, ...], str]] = [
        ("What is <image> plus 4?", (3,), "3 + 4 = 7."),
        ("What is 12 minus <image>?", (9,), "12 - 9 = 3."),
        ("What is <image> plus <image>?", (6, 8), "6 + 8 = 14."),
    ]
    with daemon.connect() as wire:
        for prompt, digits, answer in asked:
            image = {"image_embed": embedding(*digits), "n_image": len(digits), "n_image_tokens": 1}
            asking = {"multimodal_input": {"prompt": prompt, **image}}
            assert wire.ask("rkllm.run", asking)["result"]["text"] == answer
            wire.ask("rkllm.clear_kv_cache")


def test_embeddings_of_another_models_width_are_refused_before_they_are_read(start: Callable[..., Daemon]) -> None:
    daemon = start("--model", "demo", runtime="portable")
    short = base64.b64encode(bytes(4 * 500)).decode()
    inputs: list[dict[str, Any]] = [
        {"embed_input": {"embed": short, "n_tokens": 500}},
        {"multimodal_input": {"prompt": "<image>", "image_embed": short, "n_image_tokens": 500}},
    ]
    with daemon.connect() as wire:
        for asking in inputs:
            error = wire.ask("rkllm.run", asking)["error"]
            assert (error["data"]["kind"], error["data"]["limit"]) == ("InvalidParams", WIDTH)
            assert "rows of 1 numbers" in error["message"]
        # Also where the model was not loaded yet when the request came.
        wire.ask("rkllm.destroy")
        wire.request("rkllm.init", {"model_path": "demo"}, "load")
        wire.request("rkllm.run", inputs[0], "run")
        assert "limit" in wire.final("run")["error"]["data"]
