"""What a function module is given for a struct or tensor: its elements know where they stood."""

from __future__ import annotations

from typing import Any

import pytest

from rkllmd.calls.arguments import Converted
from rkllmd.calls.binding.attachments import Attachments


@pytest.mark.parametrize(
    ("json", "elements"),
    [
        ([{"index": 0}, {"index": 1}], [({"index": 0}, "$.inputs[0]"), ({"index": 1}, "$.inputs[1]")]),
        ([], []),
        ({"index": 0}, [({"index": 0}, "$.inputs")]),
        (5, [(5, "$.inputs")]),
    ],
)
def test_each_element_comes_with_its_place(json: Any, elements: list[Any]) -> None:
    assert Converted(None, json, "$.inputs", Attachments()).elements == elements


def test_no_two_share_what_they_keep_alive() -> None:
    first, second = (Converted(None, None, "$", Attachments()) for _ in range(2))
    first.keep.append(b"bytes that C reads")
    assert second.keep == []
