"""A language model: the C handle, and everything that it was made from, so that it can be loaded again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from rkllmd.abi.c import Struct, c_void_p
from rkllmd.abi.json.from_c import sampling_from, sampling_of
from rkllmd.chat.templates.overview import Overview
from rkllmd.json_types import JsonObject
from rkllmd.language.kv_cache import KvCache
from rkllmd.quick_dataclass import dataclass

if TYPE_CHECKING:
    from rkllmd.abi.library import Library
    from rkllmd.abi.tokenizer import TokenizerFile
    from rkllmd.calls.arguments import Converted
    from rkllmd.config.encoders import DeclaredEncoder
    from rkllmd.language.generation import Generation
    from rkllmd.language.prompt_caches.store import PromptCache
    from rkllmd.machine.disk.seeing import Viewer
    from rkllmd.machine.files import FileIdentity, WatchedFile
    from rkllmd.machine.memory.guard import Demand


def kept_by_daemon(infer_params: Converted) -> int | None:
    """Return the run's own limit of tokens (0: it has none) where C has no parameter for it; else None."""
    if hasattr(infer_params.c, "max_new_tokens"):  # from layout 1.3 on
        return None
    return int((infer_params.json or {}).get("max_new_tokens") or 0)


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter: the RKLLMLoraAdapter, and what it points to."""

    struct: Struct
    keep: list[object]
    # Who has to be allowed to read its file, by the path; nobody where the configuration declares it.
    seen_by: Mapping[str, Viewer] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name by which a run chooses it."""
        return str(self.struct.lora_adapter_name.decode())


@dataclass(eq=False)
class Model:
    """A language model: the C handle, what must live as long as that, and whose words are in its KV cache.

    While it sleeps it has a handle for clients but no C handle; the next call that needs it loads it again.
    """

    library: Library
    path: str
    size_bytes: int
    n_batch: int
    max_new_tokens: int
    max_context_len: int
    is_async: bool
    # The RKLLMParam that it was loaded with.
    param: Struct
    # How much memory it takes.
    demand: Demand
    # What rkllm.init was given.
    given: JsonObject = field(default_factory=dict)
    # By what two loads are compared (Recipe.sameness); None until it is loaded.
    sameness: tuple[object, ...] | None = None
    # For how many NPU cores its file was converted, if the runtime says so.
    npu_cores: int | None = None
    # The name by which the configuration declares it, and after how many unused minutes it is unloaded (None: as the
    # setting model_idle_minutes says).
    name: str | None = None
    idle_minutes: float | None = None
    # Whether runs of different clients share its batches, where the configuration says that of this model.
    coalesce: bool | None = None
    # How it writes reasoning and calls, where the configuration says that (chat/answers/dialect.py).
    dialect: str | None = None
    # What shows it pictures, where the configuration declares that.
    vision: DeclaredEncoder | None = None
    # The last argument of rkllm_init, which is the same for each load.
    callback: object = None
    # Every string and callback given to rkllm_init stays alive as long as the handle: freeing model_path after the load
    # has crashed the vendor's runtime.
    keep_alive: list[object] = field(default_factory=list)
    pointer: c_void_p = field(default_factory=c_void_p)
    number: int = 0
    # The uid that has loaded it, and so may change it; None: the daemon itself.
    user: int | None = None
    loaded_at: float = field(default_factory=time.monotonic)
    used_at: float = field(default_factory=time.monotonic)
    is_asleep: bool = False
    # A load beside it has failed, which may have killed it: its next run will show that.
    is_in_doubt: bool = False
    # The run whose callbacks are coming in; set on the worker thread just before the C call.
    generation: Generation | None = None
    # What rkllm.set_cross_attn_params gave last, and whether that is gone (``models/cross_attention.py``).
    cross_attention: object = None
    has_lost_cross_attention: bool = False
    # How many numbers one embedding for it has, if that is known: C takes the length of a row for granted.
    embedding_width: int | None = None
    # Whether the configuration lets it take the place of others, which then sleep.
    swap: bool = False
    # How its hidden states become one embedding ("mean", "cls", "last"), if that is declared or in its file.
    pooling: str | None = None
    # What is known of its own chat template.
    overview: Overview = Overview()
    # What the portable runtime says about it: the template for prompts ("model", "none", "unknown"), and for how many
    # tokens of context it was trained.
    chat_template: str | None = None
    trained_context_len: int | None = None
    # What begins and ends a text, as the runtime says.
    bos_token: str | None = None
    eos_token: str | None = None
    # How many bytes of the memory that it took it does not need.
    optional_bytes: int = 0
    # The files that C may still be reading; none with the portable runtime, which has copies.
    watched_files: list[WatchedFile] = field(default_factory=list)
    # Its tokenizer_path and embedding_path.
    callback_files: tuple[str | None, str | None] = (None, None)
    # C puts no template around prompts now, and nobody but the daemon has wanted that.
    is_bare: bool = False
    # The folder of its tokenizer with its own chat template, where the configuration declares one.
    tokenizer: str | None = None
    # The tokenizer.json that was read to count tokens (token_counts.py).
    own_tokenizer: TokenizerFile | None = None
    # The files that it and its adapters (by their names) were loaded from: a prompt cache depends on them.
    file: FileIdentity | None = None
    lora_files: dict[str, FileIdentity] = field(default_factory=dict)
    # Who has to be allowed to read the files that clients have named, by their paths; not those of the configuration.
    seen_by: Mapping[str, Viewer] = field(default_factory=dict)
    # The loaded prompt cache, if it is one that the daemon keeps by name.
    prompt_cache: PromptCache | None = None
    # The path of the loaded one if it is another.
    prompt_cache_path: str | None = None
    # What is set again when the model is loaded again: the adapters, and for each function that takes strings the
    # strings of its last call, in the order of the calls.
    adapters: list[Adapter] = field(default_factory=list)
    strings: dict[str, list[bytes]] = field(default_factory=dict)
    # For each such function the strings of its last call if that failed: C may have kept them nevertheless.
    refused_strings: dict[str, list[bytes]] = field(default_factory=dict)
    kv_cache: KvCache = field(default_factory=KvCache)
    # The sizes when C was last asked, for rkllm.get_kv_cache_size while the worker is busy.
    kv_cache_sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kv_cache_sizes = [0] * self.n_batch

    @property
    def is_alive(self) -> bool:
        """Return whether its handle may be used."""
        return self.is_asleep or bool(self.pointer)

    def describe(self, now: float) -> JsonObject:
        """Return what clients are told of it; ``now`` is of the monotonic clock."""
        return {
            "handle": self.number,
            "name": self.name,
            "model_path": self.path,
            "state": "asleep" if self.is_asleep else "loaded",
            "size_bytes": self.size_bytes,
            "base_domain_id": self.domain,
            "n_batch": self.n_batch,
            "max_context_len": self.max_context_len,
            "trained_context_len": self.trained_context_len,
            "chat_template": self.template_in_use,
            "thinking": self.overview.thinks,
            "infill": self.overview.infill,
            "vision": None if self.vision is None else self.vision.describe(),
            "pooling": self.pooling,
            "lora_adapters": self.lora_adapters,
            "cross_attention": self.cross_attention_state,
            "paused": self.kv_cache.is_paused,
            "loaded_s": None if self.is_asleep else round(now - self.loaded_at, 1),
            "unused_s": round(now - self.used_at, 1),
        }

    def describe_whole(self, now: float) -> JsonObject:
        """Return that, and what is too long for a list of models or seldom asked for."""
        return {
            **self.describe(now),
            "template": self.overview.text,
            "bos_token": self.overview.bos_token or self.bos_token,
            "eos_token": self.overview.eos_token or self.eos_token,
            "max_new_tokens": self.max_new_tokens if self.max_new_tokens > 0 else None,
            "sampling_params": sampling_of(self.param),
        }

    @property
    def lora_adapters(self) -> list[str]:
        """Return the names of the LoRA adapters."""
        return [adapter.name for adapter in self.adapters]

    @property
    def cross_attention_state(self) -> Literal["set", "lost"] | None:
        """Return whether its cross-attention is set, or was and is gone; None where it was never set."""
        if self.has_lost_cross_attention:
            return "lost"
        return None if self.cross_attention is None else "set"

    @cached_property
    def sampling(self) -> Struct:
        """Return the RKLLMSamplingParam that it was loaded with, for fields that a run does not give (from 1.3 on)."""
        return sampling_from(self.param, self.library.layout.structs["RKLLMSamplingParam"])

    def most_tokens(self, infer_params: Converted) -> int:
        """Return after how many tokens a run with these RKLLMInferParam ends at the latest; 0 or less: no limit."""
        per_run = kept_by_daemon(infer_params)
        if per_run is None:
            per_run = int(infer_params.c.max_new_tokens)
            return per_run if per_run > 0 else self.max_new_tokens
        # C knows that of the load only, so the one that is reached first counts.
        return min((limit for limit in (per_run, self.max_new_tokens) if limit > 0), default=self.max_new_tokens)

    @property
    def template_in_use(self) -> str | None:
        """Return the template for prompts: "set", "model", "none", "unknown"; None if the runtime does not say."""
        return "set" if "rkllm_set_chat_template" in self.strings else self.chat_template

    @property
    def domain(self) -> int:
        """Return the NPU memory domain that it is in."""
        return int(self.param.extend_param.base_domain_id)
