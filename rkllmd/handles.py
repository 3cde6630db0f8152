"""Handles: who owns what, how long it lives, what is loaded.

On the wire a handle is a small positive integer, never an address, and never used twice while the daemon lives.
"""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from rkllmd.abi.convert import sampling_from
from rkllmd.errors import AmbiguousHandle, InvalidHandle, ModelNotInitialized, NotYours
from rkllmd.kv_cache import KvCache

if TYPE_CHECKING:
    from rkllmd.abi.library import Library
    from rkllmd.fingerprint import FileIdentity
    from rkllmd.prompt_caches import PromptCache
    from rkllmd.streaming import Generation
    from rkllmd.watched_file import WatchedFile

_numbers = itertools.count(1)
# Of the handles that an error's sentence names; all are in its data.
_SHOWN: Final = 10


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter: the RKLLMLoraAdapter, and what it points to."""

    struct: Any
    keep: list[Any]

    @property
    def name(self) -> str:
        """Return the name by which a run asks for it."""
        return str(self.struct.lora_adapter_name.decode())


@dataclass(eq=False)
class Model:
    """A language model: the C handle, what must live as long as it, and whose words are in its KV cache.

    Asleep, it has its handle and no C handle: it is loaded again for the next call that needs it. Whoever makes a C
    call with ``pointer`` on the event loop asks ``is_asleep`` first.
    """

    library: Library
    path: str
    size_bytes: int
    n_batch: int
    max_new_tokens: int
    max_context_len: int
    is_async: bool
    # The RKLLMParam that it was loaded with.
    param: Any
    # What it was loaded with, as two loads compare it; None until it is loaded.
    sameness: tuple[Any, ...] | None = None
    # For how many NPU cores its file was converted, where the runtime says so.
    npu_cores: int | None = None
    # The name by which the configuration declares it, and after how long unused it is unloaded (None: as the setting
    # model_idle_minutes says).
    name: str | None = None
    idle_minutes: float | None = None
    # The last argument of rkllm_init, which stays the same for each load.
    callback: Any = None
    # Every string and callback given to rkllm_init stays alive as long as the handle: freeing model_path after init
    # has crashed the vendor's runtime.
    keep_alive: list[Any] = field(default_factory=list)
    pointer: ctypes.c_void_p = field(default_factory=ctypes.c_void_p)
    number: int = 0
    loaded_at: float = field(default_factory=time.monotonic)
    used_at: float = field(default_factory=time.monotonic)
    is_asleep: bool = False
    # A load beside it has failed, which may have killed it: its next run will tell.
    is_in_doubt: bool = False
    # The run whose callbacks are coming in; set on the worker thread just before the C call.
    generation: Generation | None = None
    cross_attention: Any = None
    # How many numbers an embedding given to it has, where that is known: C takes the length of a row for granted.
    embedding_width: int | None = None
    # What the portable runtime says about it: what prompts are wrapped in ("model", "none", "unknown"), and the context
    # that it was trained for.
    chat_template: str | None = None
    trained_context_len: int | None = None
    # How much of the memory that it took it would also do without.
    optional_bytes: int = 0
    # The files that C may still be reading; none with the portable runtime, which has copies.
    watched_files: list[WatchedFile] = field(default_factory=list)
    # Its tokenizer_path and embedding_path.
    callback_files: tuple[str | None, str | None] = (None, None)
    # Which files it and its adapters were loaded from, by the adapters' names: what a prompt cache depends on.
    file: FileIdentity | None = None
    lora_files: dict[str, FileIdentity] = field(default_factory=dict)
    # The loaded one, if it is one that the daemon keeps by name.
    prompt_cache: PromptCache | None = None
    # What is set again when the model is loaded again: the adapters, and the strings of the last call of each function
    # that takes strings, in the order of the calls.
    adapters: list[Adapter] = field(default_factory=list)
    strings: dict[str, list[bytes]] = field(default_factory=dict)
    # Those of the last call of each such function if that failed: C may have kept them nevertheless.
    refused_strings: dict[str, list[bytes]] = field(default_factory=dict)
    kv_cache: KvCache = field(default_factory=KvCache)
    # The sizes before the running call, for rkllm.get_kv_cache_size while one is running.
    kv_cache_sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kv_cache_sizes = [0] * self.n_batch

    @property
    def is_alive(self) -> bool:
        """Tell whether its handle may be used."""
        return self.is_asleep or bool(self.pointer)

    @property
    def lora_adapters(self) -> list[str]:
        """Return the names of the LoRA adapters."""
        return [adapter.name for adapter in self.adapters]

    @cached_property
    def sampling(self) -> Any:
        """Return the RKLLMSamplingParam that it was loaded with, for the fields that a run does not give (1.3)."""
        return sampling_from(self.param, self.library.layout.structs["RKLLMSamplingParam"])

    def most_tokens(self, infer_params: Any) -> int:
        """Return after how many tokens a run with these RKLLMInferParam ends at the latest; 0 or less: no limit."""
        per_run = int(getattr(infer_params, "max_new_tokens", 0))  # exists from layout 1.3 on
        return per_run if per_run > 0 else self.max_new_tokens

    @property
    def template_in_use(self) -> str | None:
        """Return what prompts are wrapped in: "set", "model", "none", "unknown"; None where nobody can tell."""
        return "set" if "rkllm_set_chat_template" in self.strings else self.chat_template

    @property
    def domain(self) -> int:
        """Return the NPU memory domain that it is in."""
        return int(self.param.extend_param.base_domain_id)


T = TypeVar("T")


class Handles(Generic[T]):
    """The live objects of one kind by their handles, each with its owner: a client's number, or None for everybody."""

    def __init__(self, kind: str, maker: str = "rkllm.init") -> None:
        """Start without any; ``kind`` and ``maker``, the method that makes one, are for error messages."""
        self.kind = kind
        self.maker = maker
        self._live: dict[int, tuple[T, int | None]] = {}

    def __len__(self) -> int:
        """Return how many are alive."""
        return len(self._live)

    def __iter__(self) -> Iterator[T]:
        """Iterate over a snapshot of the live objects."""
        return iter([item for item, _ in list(self._live.values())])

    def add(self, item: T, owner: int | None = None) -> int:
        """Give ``item`` a handle."""
        number = next(_numbers)
        self._live[number] = (item, owner)
        return number

    def remove(self, number: int) -> None:
        """Forget a handle; its number is not used again."""
        self._live.pop(number, None)

    def exchange(self, numbers: Iterable[int], item: T) -> int:
        """Forget handles and give ``item`` one, in one step: nobody finds both, or neither."""
        number = next(_numbers)
        gone = set(numbers)
        live = {key: value for key, value in self._live.items() if key not in gone}
        self._live = {**live, number: (item, None)}
        return number

    def owner_of(self, number: int) -> int | None:
        """Return the client that a live object belongs to, or None for everybody's."""
        return self._live[number][1]

    def owned_by(self, client: int | None) -> list[T]:
        """Return what goes when this client goes; for None, what stays whoever goes."""
        return [item for item, owner in list(self._live.values()) if owner == client]

    def usable_by(self, client: int | None) -> dict[int, T]:
        """Return what this client may use, by handle."""
        # One look: the worker may unload something meanwhile.
        return {number: item for number, (item, owner) in list(self._live.items()) if owner in (None, client)}

    def get(self, number: int | None, client: int | None = None) -> T:
        """Return the object of a handle, or the only live one for None. Raises as ``resolve``."""
        if number is None and len(self._live) == 1:  # as nearly always; the worker may take it away meanwhile
            for item, owner in list(self._live.values()):
                if owner in (None, client):
                    return item
        found: T = resolve([self], number, client)
        return found


def resolve(registries: Sequence[Handles[Any]], number: int | None, client: int | None) -> Any:
    """Return the object of a handle that may be of several kinds, or the only live one that ``client`` may use.

    Raises ModelNotInitialized, AmbiguousHandle, InvalidHandle or NotYours.
    """
    if number is not None:
        for handles in registries:
            item, owner = handles._live.get(number, (None, None))
            if item is not None and owner in (None, client):
                return item
    usable = {key: item for handles in registries for key, item in handles.usable_by(client).items()}
    kind = registries[0].kind
    if number is None:
        if len(usable) == 1:
            return next(iter(usable.values()))
        if not usable:
            raise ModelNotInitialized(f"No {kind} is loaded: call {registries[0].maker} first.")
        raise AmbiguousHandle(
            f"Several {kind}s are loaded ({_listed(usable)}): name one by its handle.", handles=list(usable)
        )
    if any(number in handles._live for handles in registries):
        raise NotYours(f"This {kind} belongs to another connection.", handle=number)
    known = f"there is {_listed(usable)}" if usable else "none is loaded"
    raise InvalidHandle(f"There is no {kind} with handle {number}; {known}.", handle=number, handles=list(usable))


def _listed(numbers: Iterable[int]) -> str:
    shown = sorted(numbers)
    return ", ".join(map(str, shown[:_SHOWN])) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
