"""Handles: who owns what, how long it lives, what is loaded.

On the wire a handle is a small positive integer, never an address, and never used twice while the daemon lives.
"""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rkllmd.errors import AmbiguousHandle, InvalidHandle, ModelNotInitialized

if TYPE_CHECKING:
    from rkllmd.abi.library import Library
    from rkllmd.streaming import Generation

_numbers = itertools.count(1)


@dataclass(eq=False)
class Model:
    """A loaded language model: the C handle, what must live as long as it, and whose words are in its KV cache."""

    library: Library
    path: str
    size_bytes: int
    n_batch: int
    max_new_tokens: int
    max_context_len: int
    is_async: bool
    # The RKLLMParam that it was loaded with.
    param: Any
    # Every string and callback given to rkllm_init stays alive as long as the handle: freeing model_path after init
    # has crashed the vendor's runtime.
    keep_alive: list[Any] = field(default_factory=list)
    pointer: ctypes.c_void_p = field(default_factory=ctypes.c_void_p)
    number: int = 0
    loaded_at: float = field(default_factory=time.monotonic)
    # The run whose callbacks are coming in; set on the worker thread just before the C call.
    generation: Generation | None = None
    cross_attention: Any = None
    lora_adapters: list[str] = field(default_factory=list)
    # Conversation history belongs to the client whose turn built it (protocol, section 3).
    history_client: int | None = None
    history_kept: bool = False
    paused: bool = False
    # The sizes before the running call, for rkllm.get_kv_cache_size while one is running.
    kv_cache_sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kv_cache_sizes = [0] * self.n_batch


T = TypeVar("T")


class Handles(Generic[T]):
    """The live objects of one kind by their handles."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._live: dict[int, T] = {}

    def __len__(self) -> int:
        """Return how many are alive."""
        return len(self._live)

    def __iter__(self) -> Iterator[T]:
        """Iterate over a snapshot of the live objects."""
        return iter(list(self._live.values()))

    def add(self, item: T) -> int:
        """Give ``item`` a handle."""
        number = next(_numbers)
        self._live[number] = item
        return number

    def remove(self, number: int) -> None:
        """Forget a handle; its number is not used again."""
        self._live.pop(number, None)

    def get(self, number: int | None) -> T:
        """Return the object of a handle, or the only live one for None.

        Raises ModelNotInitialized, AmbiguousHandle or InvalidHandle.
        """
        if number is None:
            live = list(self._live.values())  # one look: the worker may unload a model meanwhile
            if len(live) == 1:
                return live[0]
            if not live:
                raise ModelNotInitialized(f"No {self.kind} is loaded: call rkllm.init first.")
            raise AmbiguousHandle(f"Several {self.kind}s are loaded: name one by its handle.", handles=list(self._live))
        if number not in self._live:
            raise InvalidHandle(f"There is no {self.kind} with this handle.", handle=number, handles=list(self._live))
        return self._live[number]
