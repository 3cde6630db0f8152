"""Clients that are refused before they have a request: who wants to know of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final


class Refusals:
    """Passes on whom the connections refuse. One process serves one application."""

    def __init__(self) -> None:
        """Begin with nobody who wants to know."""
        self.tell: Callable[[str, int], None] | None = None

    def add(self, address: str, status: int) -> None:
        """Tell of a client that is refused with this status."""
        if self.tell is not None:
            self.tell(address, status)


OF_ALL: Final = Refusals()
