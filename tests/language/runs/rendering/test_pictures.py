"""Pictures as pixels: what of them is refused, and what C gets (test_media.py shows where they stand)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rkllmd.abi.json.tensors import Tensor
from rkllmd.abi.layouts.rkllm import LAYOUTS
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.language.chats.messages import Medium
from rkllmd.language.pictures import Pictures
from rkllmd.language.runs.rendering import pictures

ENCODER = DeclaredEncoder("/v.rknn", 2, 1, tags=(("image_start", "<s>"),))
WHERE = "$.messages[0].content[0].image"


def model(vision: DeclaredEncoder | None = ENCODER, layout: str = "1.3") -> Any:
    return SimpleNamespace(vision=vision, library=SimpleNamespace(runtime="simulator 1.3.0", layout=LAYOUTS[layout]))


def picture(pixels: Any, **others: Any) -> Medium:
    return Medium("image", {"pixels": pixels, **others}, WHERE)


class Eyes:
    """Encoders whose embeddings are the picture's first byte."""

    def encode(self, encoder: DeclaredEncoder, pixels: memoryview) -> Tensor:
        """Return one token."""
        return Tensor(bytearray([pixels[0], 0, 0, 0]), "float32", (1, 1, 1))

    def release(self, path: str) -> None:
        """Never do that."""
        raise AssertionError


def run(sources: Any = None, layout: str = "1.3") -> Any:
    client = SimpleNamespace(client=SimpleNamespace(user=1))
    language = SimpleNamespace(pictures=Pictures(Eyes()))
    return SimpleNamespace(model=model(layout=layout), invocation=client, language=language, sources=sources)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (picture("AAAA", image_width=2), f"{WHERE}.image_width"),
        (picture({"data": "AAAA", "shape": [2, 1, 3]}), f"{WHERE}.pixels.shape"),
        (picture({"data": "AAAA", "dtype": "float32"}), f"{WHERE}.pixels.dtype"),
    ],
)
def test_what_is_no_picture_for_the_encoder_is_refused_at_once(given: Medium, path: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        pictures.check(model(), given)
    assert refused.value.data["path"] == path


def test_a_model_without_an_encoder_takes_no_pixels() -> None:
    with pytest.raises(NotSupported, match="declares no vision encoder"):
        pictures.check(model(None), picture("AAAA"))


@pytest.mark.parametrize("given", ["AAAA", {"mem": 1}])
def test_too_few_bytes_never_reach_the_encoder(given: Any) -> None:
    sources = SimpleNamespace(bytes_of=lambda value, path: memoryview(bytearray(3)))
    with pytest.raises(InvalidParams) as refused:
        pictures.fields_of(run(sources), ENCODER, [picture(given)])
    assert (refused.value.data["path"], refused.value.data["limit"]) == (f"{WHERE}.pixels", 6)


def test_several_pictures_are_one_block_of_embeddings() -> None:
    shown = [picture({"data": [number] * 6, "shape": [1, 1, 2, 3]}) for number in (7, 8)]
    found = pictures.fields_of(run(), ENCODER, shown)
    assert {name: found[name] for name in found if name != "image_embed"} == {
        "n_image": 2,
        "n_image_tokens": 1,
        "image_width": 2,
        "image_height": 1,
        "image_start": "<s>",
    }
    data = found["image_embed"]["data"].data
    assert (bytes(data[::4]), found["image_embed"]["shape"]) == (b"\7\x08", [2, 1, 1])
    assert "image_start" not in pictures.fields_of(run(layout="1.2"), ENCODER, shown[:1])
