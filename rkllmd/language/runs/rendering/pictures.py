"""Pictures in messages that come as pixels: checked, and made into what C takes, by the model's vision encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from rkllmd.abi.json.tensors import Tensor, read_buffer
from rkllmd.calls.binding.attachments import are_named_in
from rkllmd.config.encoders import DeclaredEncoder
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.json_types import Json, JsonObject
from rkllmd.wire.long_strings import LongString

if TYPE_CHECKING:
    from rkllmd.language.chats.messages import Medium
    from rkllmd.language.model import Model
    from rkllmd.language.runs.run import Run

PIXELS: Final = "pixels"
_COLOURS: Final = 3


def is_picture(medium: Medium) -> bool:
    """Return whether a medium is a picture that the daemon is to encode."""
    return medium.kind == "image" and PIXELS in medium.given


def check(model: Model, medium: Medium) -> None:
    """Refuse a picture that the model's encoder does not take, as far as that can be seen without its bytes.

    Raises NotSupported, InvalidParams.
    """
    path = f"{medium.path}.{PIXELS}"
    if model.vision is None:
        raise NotSupported(
            f"{path}: the configuration declares no vision encoder for this model: give image_embed instead.",
            runtime=model.library.runtime,
            needs="vision",
        )
    others = sorted(medium.given.keys() - {PIXELS})
    if others:
        raise InvalidParams(
            f"{medium.path} has pixels, so everything else follows from them: leave out {', '.join(others)}.",
            path=f"{medium.path}.{others[0]}",
            keyword="additionalProperties",
            limit=[PIXELS],
        )
    given = medium.given[PIXELS]
    if isinstance(given, dict):
        _check_form(model.vision, given.get("dtype"), given.get("shape"), path)


def fields_of(run: Run, encoder: DeclaredEncoder, pictures: Sequence[Medium]) -> JsonObject:
    """Return the image of a multimodal input: all ``pictures`` one after the other; on the worker thread.

    Its embeddings are as if a client had given them. Raises RpcError.
    """
    found = [_embeddings(run, encoder, medium) for medium in pictures]
    _, tokens, width = found[0].shape
    data = found[0].data if len(found) == 1 else bytearray().join(memoryview(item.data) for item in found)
    embeddings = LongString(memoryview(data).cast("B"))
    has_tags = hasattr(run.model.library.layout["RKLLMMultiModalInput"], "image")  # in 1.2 they come with the load
    return {
        "image_embed": {"data": embeddings, "dtype": "float32", "shape": [len(found), tokens, width]},
        "n_image": len(found),
        "n_image_tokens": tokens,
        "image_width": encoder.width,
        "image_height": encoder.height,
        **(dict(encoder.tags) if has_tags else {}),
    }


def _embeddings(run: Run, encoder: DeclaredEncoder, medium: Medium) -> Tensor:
    # What came by descriptor or memory may be another picture each time.
    digest = None if are_named_in(medium.given) else medium.digest
    pixels = partial(_pixels, run, encoder, medium)
    return run.language.pictures.embeddings(run.invocation.client.user, encoder, digest, pixels)


def _pixels(run: Run, encoder: DeclaredEncoder, medium: Medium) -> memoryview:
    path = f"{medium.path}.{PIXELS}"
    buffer = read_buffer(medium.given[PIXELS], "uint8", path, run.sources)
    _check_form(encoder, buffer.dtype, None if buffer.shape is None else list(buffer.shape), path)
    if buffer.size != encoder.byte_count:
        raise InvalidParams(
            f"{path} has {buffer.size} bytes, but a picture of {encoder.width} x {encoder.height} pixels has "
            f"{encoder.byte_count}.",
            path=path,
            keyword="size",
            limit=encoder.byte_count,
        )
    return memoryview(buffer.data).cast("B")


def _check_form(encoder: DeclaredEncoder, dtype: Json, shape: Json, path: str) -> None:
    wanted = [encoder.height, encoder.width, _COLOURS]
    if dtype not in (None, "uint8"):
        raise InvalidParams(f"{path}.dtype must be uint8.", path=f"{path}.dtype", keyword="enum", limit=["uint8"])
    if shape is None or shape in (wanted, [1, *wanted], [math.prod(wanted)]):
        return
    raise InvalidParams(
        f"{path}.shape must be {wanted}: the model's encoder takes pictures of {encoder.width} x {encoder.height} "
        "pixels, RGB.",
        path=f"{path}.shape",
        keyword="const",
        limit=wanted,
    )
