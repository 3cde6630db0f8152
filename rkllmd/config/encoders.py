"""The vision encoder that the configuration declares beside a language model: ``[models.NAME.vision]``.

It is an RKNN model that makes of a picture what the language model reads in its place.
"""

from __future__ import annotations

from typing import Final

from rkllmd.json_types import JsonObject
from rkllmd.quick_dataclass import dataclass

# How a picture of another shape becomes one of the encoder's: with grey beside it, or stretched.
FITS: Final = ("pad", "stretch")
# What stands in the prompt around a picture and in its place: fields of RKLLMImageInput.
TAGS: Final = ("image_start", "image_end", "image_content")
_MOST_PIXELS_A_SIDE: Final = 4096
_SIDE: Final[JsonObject] = {"type": "integer", "minimum": 1, "maximum": _MOST_PIXELS_A_SIDE}
_COLOURS: Final[JsonObject] = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
SCHEMA: Final[JsonObject] = {
    "type": "object",
    "properties": {
        "model_path": {"type": "string"},
        "size": {**_SIDE, "type": ["integer", "array"], "items": _SIDE, "minItems": 2, "maxItems": 2},
        "fit": {"enum": list(FITS)},
        "mean": _COLOURS,
        "std": {**_COLOURS, "items": {"type": "number", "exclusiveMinimum": 0}},
        **{tag: {"type": "string", "minLength": 1} for tag in TAGS},
    },
    "required": ["model_path", "size"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class DeclaredEncoder:
    """A declared encoder: pictures are RGB, ``width`` x ``height`` pixels, row by row.

    ``mean`` and ``std`` are those of each colour, in the scale of 0 to 255; without them the encoder takes the bytes
    as they are.
    """

    path: str
    width: int
    height: int
    fit: str = "pad"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def byte_count(self) -> int:
        """Return how many bytes a picture has."""
        return self.width * self.height * 3

    def describe(self) -> JsonObject:
        """Return what a client has to know to make a picture for it."""
        return {"width": self.width, "height": self.height, "fit": self.fit}


def parse(table: JsonObject | None) -> DeclaredEncoder | None:
    """Return the encoder of a table that fits ``SCHEMA``."""
    if table is None:
        return None
    size = table["size"]
    width, height = size if isinstance(size, list) else (size, size)
    mean, std = table.get("mean"), table.get("std")
    if mean is not None or std is not None:
        mean, std = mean or [0.0, 0.0, 0.0], std or [1.0, 1.0, 1.0]
    return DeclaredEncoder(
        table["model_path"],
        width,
        height,
        table.get("fit", FITS[0]),
        None if mean is None else tuple(map(float, mean)),
        None if std is None else tuple(map(float, std)),
        tuple((tag, table[tag]) for tag in TAGS if tag in table),
    )
