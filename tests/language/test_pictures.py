"""Which pictures are encoded, and which are still known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkllmd.abi.json.tensors import Tensor
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.errors import NotSupported
from rkllmd.language.pictures import Pictures

ENCODER = DeclaredEncoder("/v.rknn", 2, 1)
# One token of two numbers.
BYTES = 8


class Eyes:
    """Encoders that count what they have seen."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.released: list[str] = []

    def encode(self, encoder: DeclaredEncoder, pixels: memoryview) -> Tensor:
        """Note it."""
        self.seen.append(bytes(pixels))
        return Tensor(bytearray(BYTES), "float32", (1, 1, 2))

    def release(self, path: str) -> None:
        """Note it."""
        self.released.append(path)


def show(pictures: Pictures, name: str | None, user: int | None = 1) -> Tensor:
    return pictures.embeddings(user, ENCODER, name, lambda: memoryview((name or "?").encode()))


def test_a_picture_is_encoded_once_for_each_user() -> None:
    eyes = Eyes()
    pictures = Pictures(eyes)
    assert show(pictures, "a") is show(pictures, "a")
    show(pictures, "a", user=2)
    assert eyes.seen == [b"a", b"a"], "nobody can find out by the time it takes what others have shown"


def test_an_encoder_that_is_declared_otherwise_sees_something_else() -> None:
    eyes = Eyes()
    pictures = Pictures(eyes)
    show(pictures, "a")
    otherwise = replace(ENCODER, mean=(1.0, 1.0, 1.0), std=(1.0, 1.0, 1.0))
    pictures.embeddings(1, otherwise, "a", lambda: memoryview(b"a"))
    assert eyes.seen == [b"a", b"a"]


def test_another_file_of_the_encoder_sees_something_else(tmp_path: Path) -> None:
    eyes = Eyes()
    pictures = Pictures(eyes)
    file, new = tmp_path / "v.rknn", tmp_path / "new.rknn"
    encoder = replace(ENCODER, path=str(file))

    def look() -> None:
        pictures.embeddings(1, encoder, "a", lambda: memoryview(b"a"))

    for content in (b"first", b"other"):
        new.write_bytes(content)
        new.replace(file)
        look()
        look()
    assert len(eyes.seen) == 2
    file.write_bytes(b"longer")
    look()
    assert len(eyes.seen) == 3


def test_what_may_be_another_picture_each_time_is_not_kept() -> None:
    eyes = Eyes()
    pictures = Pictures(eyes)
    assert show(pictures, None) is not show(pictures, None)
    assert len(eyes.seen) == 2


def test_the_one_that_was_used_longest_ago_is_forgotten() -> None:
    eyes = Eyes()
    pictures = Pictures(eyes, most_bytes=2 * BYTES)
    for name in ("a", "b", "a", "c", "a", "b"):
        show(pictures, name)
    assert eyes.seen == [b"a", b"b", b"c", b"b"]


def test_without_eyes_nothing_is_seen() -> None:
    pictures = Pictures()
    with pytest.raises(NotSupported):
        show(pictures, "a")
    pictures.release(ENCODER)
    eyes = Eyes()
    Pictures(eyes).release(ENCODER)
    assert eyes.released == ["/v.rknn"]
