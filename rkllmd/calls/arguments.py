"""What a function module gets for a parameter: the C value, and the JSON that the client wrote for it."""

from __future__ import annotations

from dataclasses import field

from rkllmd.abi.c_types import CValue
from rkllmd.calls.binding.attachments import Attachments
from rkllmd.json_types import Json
from rkllmd.quick_dataclass import dataclass


@dataclass(slots=True)
class Converted:
    """A struct or tensor parameter: the C struct (or array), and where its fields stood in the client's JSON.

    ``keep`` holds everything that C may read through its pointers: it lives as long as this object. ``sources`` has
    what its tensors refer to. A raw one has no ``c``: the function converts it.
    """

    # The struct that the parameter's declaration names, or an array of them.
    c: CValue
    json: Json
    path: str
    sources: Attachments
    keep: list[object] = field(default_factory=list)

    @property
    def elements(self) -> list[tuple[Json, str]]:
        """Return each element of an array with its JSON path; a value that is no array is the only element."""
        if not isinstance(self.json, list):
            return [(self.json, self.path)]
        return [(element, f"{self.path}[{index}]") for index, element in enumerate(self.json)]
