"""A picture as a client gives it: its file in base64, or an address where it is."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from rkllmd.gateway.fields import WrongField
from rkllmd.json_types import JsonObject

_DATA: Final = "data:"
_SCHEMES: Final = ("http://", "https://")
_MOST_ADDRESS: Final = 2048


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the field ``where`` of a request: ``file`` has its bytes, or ``address`` says where it is."""

    where: str
    file: bytes = b""
    address: str | None = None

    def wrong(self, message: str) -> WrongField:
        """Return the error for it; the message is what follows the field's name."""
        return WrongField(self.where, f"{self.where} {message}")

    def part(self) -> JsonObject:
        """Return the part of a message that it is, until ``showing`` makes pixels of it."""
        return {"type": "image", "image": self}


def of_url(url: str, where: str) -> Picture:
    """Return the picture that a data URL has, or that is at an address. Raises WrongField."""
    if url[: len(_DATA)].lower() == _DATA:
        about, comma, text = url[len(_DATA) :].partition(",")
        if not comma or not about.lower().endswith(";base64"):
            raise WrongField(where, f"{where} must be a data URL in base64: data:image/png;base64,…")
        return of_base64(text, where)
    if not url.lower().startswith(_SCHEMES) or len(url) > _MOST_ADDRESS:
        raise WrongField(where, f"{where} must be a data URL (data:image/png;base64,…), or an http(s) address.")
    return Picture(where, address=url)


def of_base64(text: str, where: str) -> Picture:
    """Return the picture whose file ``text`` is. Raises WrongField."""
    try:
        file = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise WrongField(where, f"{where} is no picture in base64.") from None
    if not file:
        raise WrongField(where, f"{where} is empty: give a picture.")
    return Picture(where, file)
