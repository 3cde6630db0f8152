"""In how many passes a decoder goes over a JPEG, by its bytes."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from rkllmd.gateway.pictures.jpeg import Scans, scans

SOS, EOI = b"\xff\xda", b"\xff\xd9"
MOST = 64


def file(**options: Any) -> bytes:
    target = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert(options.pop("mode", "RGB")).save(target, "JPEG", **options)
    return target.getvalue()


def test_an_ordinary_one_has_one_with_everything() -> None:
    for mode in ("RGB", "L", "CMYK"):
        assert scans(file(mode=mode, quality=95, restart_marker_blocks=1), MOST) == Scans(1, is_whole=True)


def test_one_that_appears_bit_by_bit_has_several() -> None:
    found = scans(file(progressive=True), MOST)
    assert 2 < found.count < 20
    assert not found.is_whole


def test_no_more_are_counted_than_is_wanted() -> None:
    data = file(progressive=True)
    last = data.rindex(SOS)
    assert scans(data[:-2] + data[last:-2] * 1000 + EOI, MOST) == Scans(MOST + 1, is_whole=False)


def test_one_that_has_but_a_part_is_not_whole() -> None:
    data = bytearray(file())
    data[data.index(SOS) + 4] = 1
    assert scans(bytes(data), MOST) == Scans(1, is_whole=False)
    progressive = file(progressive=True)
    second = progressive.index(SOS, progressive.index(SOS) + 2)
    assert scans(progressive[:second] + EOI, MOST) == Scans(1, is_whole=False)


def test_what_lies_in_its_headers_or_behind_it_does_not_count() -> None:
    data, small = file(), file(quality=10)
    comment = b"\xff\xfe" + (len(small) + 2).to_bytes(2, "big") + small
    assert scans(data[:2] + comment + data[2:] + small, MOST) == Scans(1, is_whole=True)


def test_what_libjpeg_passes_over_is_passed_over() -> None:
    data = file(progressive=True)
    last = data.rindex(SOS)
    odd = data[:last] + b"abc\xff\x00\xff\x01\xff\xd0\xff\xff\xff" + data[last:]
    assert scans(odd, MOST) == scans(data, MOST)
    with Image.open(io.BytesIO(odd)) as picture:
        picture.load()


def test_a_long_row_of_what_begins_a_marker_is_looked_at_once() -> None:
    """Else this takes hours, in which nobody else is served."""
    data = file()
    assert scans(data[:-2] + b"\xff" * 2_000_000 + b"\x00" + EOI, MOST) == Scans(1, is_whole=True)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 20, 200, 610, 620, 640])
def test_one_that_is_cut_off_is_no_error(length: int) -> None:
    assert scans(file()[:length], MOST).count <= 1
