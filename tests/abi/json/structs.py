"""JSON made into structs, and what is refused: for the tests of conversion."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from rkllmd.abi.json.convert import to_c
from rkllmd.abi.layouts.rkllm import LAYOUTS, Layout
from rkllmd.errors import InvalidParams

LAYOUT_1_2, LAYOUT_1_3, LAYOUT_1_3_1 = LAYOUTS.values()
EMBED = base64.b64encode(struct.pack("<4f", 1, 2, 3, 4)).decode()
JPEG = {"prompt": "<image> what?", "image_embed": [[1, 2], [3, 4]]}


def convert(value: Any, layout: Layout, name: str, **options: Any) -> Any:
    """Return the struct of this name that the value becomes."""
    return to_c(value, layout[name], "$", [], **options)


def refused(value: Any, layout: Layout, name: str, path: str, keyword: str) -> InvalidParams:
    """Return the error for a value that can't become this struct, which names this place and this rule."""
    with pytest.raises(InvalidParams) as caught:
        convert(value, layout, name)
    assert (caught.value.data["path"], caught.value.data["keyword"]) == (path, keyword), caught.value.message
    return caught.value
