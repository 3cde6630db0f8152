"""The pictures of a request, made into pixels for the model that it asks: fetched if need be, one decoded at a time."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

import trio

from rkllmd.gateway.failures import Failure
from rkllmd.gateway.pictures import decoding, fetching
from rkllmd.gateway.pictures.decoding import PictureError
from rkllmd.gateway.pictures.fetching import Reach
from rkllmd.gateway.pictures.given import Picture
from rkllmd.json_types import JsonObject

# As many as the daemon takes.
MOST_PICTURES: Final = 16
# Each holds a file of up to 16 MiB, which no other account has.
_MOST_FETCHES: Final = 8


class Pictures:
    """How pictures are had; of all requests, few are fetched and one is decoded at a time: memory is bounded."""

    def __init__(self, reach: Reach | None = None) -> None:
        """``reach``: from where they may be fetched; None: from nowhere."""
        self._reach = reach
        self._decoders = trio.CapacityLimiter(1)
        self._fetches = trio.CapacityLimiter(_MOST_FETCHES)

    async def shown(self, params: JsonObject, model: str, encoder: JsonObject | None) -> JsonObject:
        """Return the parameters of a run with pixels for ``encoder`` in the place of pictures.

        ``encoder`` is what ``server.status`` says of the model's, ``model`` its name. Raises WrongField, Failure.
        """
        messages = params.get("messages", ())
        for count, picture in enumerate(_pictures_in(messages)):
            if encoder is None:
                raise picture.wrong(f"is a picture, and the model {model} takes text only: ask another one.")
            if count == MOST_PICTURES:
                raise picture.wrong(f"is one picture too many: a conversation has {MOST_PICTURES} at most.")
        if encoder is None:
            return params
        seen = {id(picture): {"pixels": await self.pixels(picture, encoder)} for picture in _pictures_in(messages)}
        return params | {"messages": [_with_pixels(message, seen) for message in messages]} if seen else params

    async def pixels(self, picture: Picture, encoder: JsonObject) -> JsonObject:
        """Return one picture as a tensor for the daemon. Raises WrongField, Failure."""
        try:
            if picture.address is None:
                found = await self._decoded(picture.file, encoder)
            else:
                async with self._fetches:
                    found = await self._decoded(await fetching.fetch(picture.address, self._reach), encoder)
        except PictureError as error:
            raise picture.wrong(str(error)) from None
        except ModuleNotFoundError as error:
            raise Failure(
                501, "NotSupported", f"Pictures need a package that is not installed: pip install {error.name}."
            ) from None
        shape = [encoder["height"], encoder["width"], 3]
        return {"data": base64.b64encode(found).decode("ascii"), "dtype": "uint8", "shape": shape}

    async def _decoded(self, file: bytes, encoder: JsonObject) -> bytes:
        return await trio.to_thread.run_sync(
            decoding.pixels, file, encoder, limiter=self._decoders, abandon_on_cancel=True
        )


def _pictures_in(messages: list[JsonObject]) -> Iterator[Picture]:
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if isinstance(part.get("image"), Picture):
                yield part["image"]


def _with_pixels(message: JsonObject, seen: dict[int, JsonObject]) -> JsonObject:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return message | {
        "content": [
            part | {"image": seen[id(part["image"])]} if isinstance(part.get("image"), Picture) else part
            for part in content
        ]
    }
