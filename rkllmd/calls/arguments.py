"""The arguments of a function module: a parameter that C takes, and what the client wrote for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rkllmd.calls.binding.attachments import Attachments


@dataclass(slots=True)
class Converted:
    """A struct or tensor parameter: the C struct (or array), and where its fields stood in the client's JSON.

    ``keep`` holds everything that C may read through its pointers: as long as this object lives, so do they.
    ``sources`` has what its tensors refer to. A raw one has no ``c``: the function converts it.
    """

    c: Any
    json: Any
    path: str
    sources: Attachments
    keep: list[Any] = field(default_factory=list)

    @property
    def elements(self) -> list[tuple[Any, str]]:
        """Return each element of an array with its place in the client's JSON; what is no array is its only element."""
        if not isinstance(self.json, list):
            return [(self.json, self.path)]
        return [(element, f"{self.path}[{index}]") for index, element in enumerate(self.json)]
