"""A picture's file becomes pixels. Files are hostile: what is decoded is bounded before it is, by what they say."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rkllmd.gateway.pictures import jpeg
from rkllmd.gateway.pictures.jpeg import Scans
from rkllmd.json_types import JsonObject

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
# The largest take 120 to 280 MB while they are decoded (measured), also JPEG in one scan, which is decoded smaller than
# it is. MPO is JPEG with further pictures behind it, as telephones make it.
MOST_PIXELS: Final = 2**24
MOST_PIXELS_OF_JPEG: Final = 2**26
_JPEG: Final = ("JPEG", "MPO")
# Encoders make about ten, and in the order of what is seen first up to 30.
_MOST_SCANS: Final = 64
# What Pillow reads by itself, in Python, it reads in pieces of a few bytes: this many take a quarter of a second.
_MOST_READS: Final = 200_000
# The one decoder that is written in Python, for files that nobody sends.
_IN_PYTHON: Final = "bmp_rle"
_GREY: Final = (127, 127, 127)
_WHITE: Final = (255, 255, 255)
# A picture is first made smaller in a cheap way, to this many times its last size.
_SPARE: Final = 2


class PictureError(Exception):
    """A file that is no picture which can be shown; the message is what follows the name of the field."""


class _File(io.BytesIO):
    """A file that is not read in any number of pieces: other threads wait for each, and each header takes memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = _MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise PictureError("is in too many small pieces: save it anew.")
        return super().read(size)


def pixels(file: bytes, encoder: JsonObject) -> bytes:
    """Return a picture for an encoder (``width``, ``height``, ``fit``): uint8 height x width x 3, RGB.

    Raises PictureError, ModuleNotFoundError without Pillow.
    """
    import PIL.Image  # only gateways that are shown pictures need it

    size = (encoder["width"], encoder["height"])
    try:
        with PIL.Image.open(_File(file), formats=FORMATS) as picture:
            _check(picture, jpeg.scans(file, _MOST_SCANS) if picture.format in _JPEG else Scans(0, is_whole=False))
            return _fitted(_small(picture, size), size, stretches=encoder["fit"] == "stretch").tobytes()
    except PIL.Image.DecompressionBombError:
        raise PictureError(f"has too many pixels: {MOST_PIXELS} are taken at most.") from None
    except PictureError:
        raise
    except PIL.UnidentifiedImageError:
        raise PictureError(f"is no picture in a format that is known here ({', '.join(FORMATS)}).") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise PictureError(f"is a broken picture: {str(error)[:200] or type(error).__name__}.") from None


def _check(picture: Image, scans: Scans) -> None:
    """Refuse what would take too long or too much memory; ``scans`` are those of a JPEG. Raises PictureError."""
    most = MOST_PIXELS_OF_JPEG if scans.is_whole else MOST_PIXELS
    if picture.width * picture.height > most:
        raise PictureError(f"has {picture.width} x {picture.height} pixels: {most} are taken at most.")
    if scans.count > _MOST_SCANS:
        raise PictureError(f"is a JPEG of more than {_MOST_SCANS} scans: save it anew.")
    if any(tile[0] == _IN_PYTHON for tile in picture.tile):  # type: ignore[attr-defined]  # of all from files
        raise PictureError("is a BMP that is compressed: save it as PNG.")


def _small(picture: Image, size: tuple[int, int]) -> Image:
    """Return a picture in RGB on white, the right way up, not much larger than needed."""
    import PIL.Image
    import PIL.ImageOps

    side = _SPARE * max(size)
    picture.draft("RGB", (side, side))
    if picture.mode.startswith("I"):  # 16 bits of grey, of which the upper ones count
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    has_alpha = picture.has_transparency_data
    mode = "RGBA" if has_alpha else "RGB"
    if picture.mode != mode:  # otherwise it would be copied
        picture = picture.convert(mode)
    picture.thumbnail((side, side), PIL.Image.Resampling.BICUBIC, reducing_gap=_SPARE)
    PIL.ImageOps.exif_transpose(picture, in_place=True)
    if not has_alpha:
        return picture
    below = PIL.Image.new("RGBA", picture.size, _WHITE)
    return PIL.Image.alpha_composite(below, picture).convert("RGB")


def _fitted(picture: Image, size: tuple[int, int], *, stretches: bool) -> Image:
    """Return it in this size: stretched, or as large as it can be with grey beside it."""
    import PIL.Image

    if stretches or picture.size == size:
        return picture.resize(size, PIL.Image.Resampling.BICUBIC)
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    found = PIL.Image.new("RGB", size, _GREY)
    place = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    found.paste(picture.resize(inner, PIL.Image.Resampling.BICUBIC), place)
    return found
