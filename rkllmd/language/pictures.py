"""Pictures for language models whose encoder the configuration declares: what they have become is kept for a while.

A conversation that goes on brings its pictures along each time. While the KV cache has them, nobody looks at them; when
it has lost them, they need not be encoded again, which takes the NPU seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from rkllmd.abi.json.tensors import Tensor
from rkllmd.errors import NotSupported
from rkllmd.machine.files import FileVersion, version

if TYPE_CHECKING:
    from rkllmd.config.encoders import DeclaredEncoder

# Some thirty pictures for a model of two thousand million parameters (196 tokens of 1536 numbers).
_MOST_BYTES: Final = 2**25
_FLOAT_BYTES: Final = 4

# Whose picture, for which encoder, from which file, which picture.
Key = tuple[int | None, "DeclaredEncoder", FileVersion | None, str]


class Encoders(Protocol):
    """Who runs encoders (``vision/encoders.py``); on the worker thread."""

    def encode(self, encoder: DeclaredEncoder, pixels: memoryview) -> Tensor:
        """Return the embeddings of a picture: float32 (1, tokens, width). Raises RpcError."""

    def release(self, path: str) -> None:
        """Unload an encoder, if it is loaded."""


class Pictures:
    """The embeddings of pictures, those that were used last; on the worker thread."""

    def __init__(self, encoders: Encoders | None = None, most_bytes: int = _MOST_BYTES) -> None:
        """Begin with none; ``encoders``: None where there is no vision at all."""
        self._encoders = encoders
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()

    def embeddings(
        self, user: int | None, encoder: DeclaredEncoder, digest: str | None, pixels: Callable[[], memoryview]
    ) -> Tensor:
        """Return the embeddings of a picture of this user; ``digest`` names its content, None: it is not kept.

        ``pixels`` returns it as the encoder takes it. Raises RpcError.
        """
        # Looked at before the encoder does: if its file is replaced in between, the embeddings are never used again.
        key = (user, encoder, version(encoder.path), digest or "")
        if digest is not None and key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._encoders is None:
            raise NotSupported("Pictures are not encoded here.", runtime="none", needs="an RKNN runtime")
        found = self._encoders.encode(encoder, pixels())
        if digest is not None:
            self._kept[key] = found
            self._make_room()
        return found

    def release(self, encoder: DeclaredEncoder) -> None:
        """Unload an encoder, since the model that it sees for is unloaded."""
        if self._encoders is not None:
            self._encoders.release(encoder.path)

    def _make_room(self) -> None:
        while sum(tensor.count for tensor in self._kept.values()) * _FLOAT_BYTES > self._most_bytes:
            self._kept.popitem(last=False)
