"""Where in a JSON text one stands: in a string, or between its parts. Without I/O."""

from __future__ import annotations

from typing import Final

_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_SEPARATORS: Final = b":,"


class Place:
    """Where in a JSON text one stands: in a string or not."""

    __slots__ = ("in_string", "is_escaped")

    def __init__(self, in_string: bool = False, is_escaped: bool = False) -> None:
        self.in_string = in_string
        self.is_escaped = is_escaped

    def copy(self) -> Place:
        """Return another one that goes its own way."""
        return Place(self.in_string, self.is_escaped)

    def with_spaces(self, data: bytes) -> bytes:
        """Go past some bytes, and return them with a space behind each colon and comma but the last byte."""
        spaced = bytearray()
        for index, byte in enumerate(data, 1):
            spaced.append(byte)
            if not self.in_string and byte in _SEPARATORS and index < len(data):
                spaced += b" "
            self.go_on(bytes([byte]))
        return bytes(spaced)

    def go_on(self, data: bytes) -> None:
        """Go past some bytes of legal JSON."""
        for byte in data:
            if self.is_escaped:
                self.is_escaped = False
            elif byte == _QUOTE:
                self.in_string = not self.in_string
            elif byte == _BACKSLASH:
                self.is_escaped = True
