"""Files of pictures become pixels, or are refused before they take memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from PIL import Image

from rkllmd.gateway.pictures.decoding import FORMATS, MOST_PIXELS, PictureError, pixels

GREY, WHITE, RED = (127, 127, 127), (255, 255, 255), (255, 0, 0)


def encoder(width: int = 8, height: int = 8, fit: str = "pad") -> dict[str, Any]:
    return {"width": width, "height": height, "fit": fit}


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def seen(data: bytes, width: int = 8, height: int = 8, fit: str = "pad") -> Image.Image:
    found = pixels(data, encoder(width, height, fit))
    assert len(found) == width * height * 3
    return Image.frombytes("RGB", (width, height), found)


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a PNG that says it has so many pixels; ``data`` is what is compressed in it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_of_the_encoders_size_stays_as_it_is(kind: str) -> None:
    assert seen(file(Image.new("RGB", (8, 8), RED), kind)).getpixel((4, 4))[0] > 200  # type: ignore[index]  # RGB: not a float


def test_a_wide_one_gets_grey_above_and_below_or_is_stretched() -> None:
    wide = file(Image.new("RGB", (400, 200), RED))
    padded = seen(wide)
    assert [padded.getpixel((4, row)) for row in range(8)] == [GREY] * 2 + [RED] * 4 + [GREY] * 2
    assert {color for _, color in seen(wide, fit="stretch").getcolors() or ()} == {RED}
    assert seen(file(Image.new("RGB", (1, 4000), RED))).getpixel((3, 4)) == RED


def test_what_is_transparent_lies_on_white() -> None:
    assert seen(file(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))).getpixel((1, 1)) == WHITE
    palette = Image.new("P", (8, 8), 0)
    assert seen(file(palette, transparency=0)).getpixel((1, 1)) == WHITE


def test_grey_of_16_bits_keeps_its_upper_half() -> None:
    deep = Image.new("I;16", (8, 8), 0x7F7F)
    assert seen(file(deep)).getpixel((1, 1)) == GREY


def test_a_photograph_stands_the_right_way_up() -> None:
    picture = Image.new("RGB", (8, 4), RED)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert seen(file(picture, "JPEG", exif=exif, quality=100)).getpixel((1, 4)) == GREY


def test_a_photograph_may_have_more_pixels_since_it_is_decoded_smaller() -> None:
    large = Image.new("L", (4200, 4200), 255)
    assert seen(file(large, "JPEG")).getpixel((1, 1)) == WHITE
    with pytest.raises(PictureError, match=str(MOST_PIXELS)):
        pixels(file(large), encoder())


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    tracemalloc.start()
    try:
        for side in (6000, 60_000):
            with pytest.raises(PictureError, match=str(MOST_PIXELS)):
                pixels(png(side, side, bytes(10**6)), encoder())
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"GIF89a",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        png(8, 8),
        png(0, 8),
        png(8, 8, bytes(range(200)))[:99],
        file(Image.new("RGB", (8, 8)), "JPEG")[:200],
        file(Image.new("RGB", (8, 8)), "TIFF"),
    ],
)
def test_what_is_broken_or_unknown_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(PictureError):
        pixels(data, encoder())


def jpeg(size: tuple[int, int], **options: Any) -> bytes:
    return file(Image.new("RGB", size, RED), "JPEG", **options)


def test_a_jpeg_of_many_scans_takes_no_longer_than_others() -> None:
    data = jpeg((8, 8), progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(PictureError, match="more than 64 scans"):
        pixels(data[:-2] + data[last:-2] * 64 + data[-2:], encoder())


def test_only_a_jpeg_in_one_scan_is_decoded_smaller_than_it_is() -> None:
    size = (4097, 4096)
    assert seen(jpeg(size)).getpixel((4, 4))[0] > 200  # type: ignore[index]  # RGB: not a float
    with pytest.raises(PictureError, match="4097 x 4096 pixels: 16777216 are taken"):
        pixels(jpeg(size, progressive=True), encoder())


def test_a_photograph_with_a_second_picture_behind_it_counts_as_jpeg() -> None:
    first, second = Image.new("RGB", (4097, 4096), RED), Image.new("RGB", (8, 8))
    data = file(first, "MPO", save_all=True, append_images=[second])
    assert seen(data).getpixel((4, 4))[0] > 200  # type: ignore[index]  # RGB: not a float


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_what_python_reads_piece_by_piece_is_bounded(kind: str) -> None:
    data = file(Image.new("RGB", (8, 8), RED), kind)
    pieces, at, said = {
        "PNG": (chunk(b"abCd"), 33, "small pieces"),
        "JPEG": (b"\xff\xfe\x00\x02", 2, "small pieces"),
        "GIF": (b"!\xfe\x01a\x00", data.find(b"\x2c"), "small pieces"),
        "BMP": (b"", 0, "compressed"),
    }[kind]
    data = data[:at] + pieces * 200_000 + data[at:]
    if kind == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, 0, 0, 0, 256, 0)
        data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + head + bytes(1024) + b"\x01\x05\x00\x00" * 8
    with pytest.raises(PictureError, match=said):
        pixels(data, encoder())
