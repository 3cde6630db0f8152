"""The vision encoder of a declared model."""

from __future__ import annotations

from pathlib import Path

import pytest

from rkllmd.config import sources
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.config.values import ConfigError

MODEL = "[models.qwen2-vl]\nmodel_path = '/m.rkllm'\n"


def read(directory: Path, vision: str) -> DeclaredEncoder | None:
    path = directory / "rkllmd.toml"
    path.write_text(f"{MODEL}{vision}")
    (model,) = sources.load({"HOME": "/"}, {}, path).models
    return model.vision


def test_an_encoder_with_all_that_can_be_said_of_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "[models.qwen2-vl.vision]\nmodel_path = '/v.rknn'\n"
        "size = [392, 196]\nfit = 'stretch'\n"
        "mean = [123.5, 116, 103]\nstd = [58, 57, 57]\nimage_end = '<|vision_end|>'\n"
        "image_start = '<|vision_start|>'\n",
    )
    tags = (("image_start", "<|vision_start|>"), ("image_end", "<|vision_end|>"))
    assert found == DeclaredEncoder("/v.rknn", 392, 196, "stretch", (123.5, 116.0, 103.0), (58.0, 57.0, 57.0), tags)
    assert found.byte_count == 392 * 196 * 3
    assert found.describe() == {"width": 392, "height": 196, "fit": "stretch"}
    shown = sources.load({"HOME": "/"}, {}, tmp_path / "rkllmd.toml").models[0].describe()
    assert (shown["name"], shown["vision"]) == ("qwen2-vl", found.describe())


def test_a_number_is_the_side_of_a_square_and_bytes_stay_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, "vision = {model_path = '/v.rknn', size = 48}") == DeclaredEncoder("/v.rknn", 48, 48)
    half = read(tmp_path, "vision = {model_path = '/v.rknn', size = 48, std = [2, 2, 2]}")
    assert half is not None
    assert (half.mean, half.std) == ((0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    assert read(tmp_path, "") is None


@pytest.mark.parametrize(
    ("vision", "named"),
    [
        ("{model_path = '/v.rknn'}", "size"),
        ("{model_path = 'v.rknn', size = 48}", "models.qwen2-vl.vision.model_path"),
        ("{model_path = '/v.rknn', size = 0}", "models.qwen2-vl.vision.size"),
        ("{model_path = '/v.rknn', size = [48, 48, 3]}", "models.qwen2-vl.vision.size"),
        ("{model_path = '/v.rknn', size = 48, std = [1, 1, 0]}", "models.qwen2-vl.vision.std"),
        ("{model_path = '/v.rknn', size = 48, mean = [nan, 1, 0]}", "models.qwen2-vl.vision.mean"),
        ("{model_path = '/v.rknn', size = 48, colours = 1}", "colours"),
    ],
)
def test_what_can_not_be_an_encoder_is_named(tmp_path: Path, vision: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read(tmp_path, f"vision = {vision}")
