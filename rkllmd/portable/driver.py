"""Drives a runtime of layout 1.3.1 by its C functions, one call at a time: for tests and for the demo's evaluation."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Final, Self, TypedDict

from rkllmd.abi import library
from rkllmd.abi.c import Pointer
from rkllmd.abi.layouts.rkllm import LLMCallState, LLMResultCallback
from rkllmd.abi.layouts.rkllm_1_3 import RKLLMCallback, RKLLMInferParam, RKLLMSamplingParam
from rkllmd.abi.layouts.rkllm_1_3_1 import RKLLMInput
from rkllmd.abi.layouts.rkllm_common import (
    LLMGetEmbedCallback,
    LLMTokenizerCallback,
    RKLLMInferMode,
    RKLLMInputType,
    RKLLMLoraAdapter,
    RKLLMLoraParam,
    RKLLMPromptCacheParam,
    RKLLMResult,
)
from rkllmd.portable.extension import Extension, NextRun
from rkllmd.portable.threads import limit_spinning
from rkllmd.quick_dataclass import dataclass


class Sampling(TypedDict, total=False):
    """Fields of RKLLMParam that decide how tokens are chosen; those that are left out have their defaults."""

    top_k: int
    repeat_penalty: float


GREEDY: Final[Sampling] = {"top_k": 1, "repeat_penalty": 1.0}
# What the caller may do at each result callback: it gets the state and the entries' texts, and returns the callback's
# answer to C.
Decide = Callable[[LLMCallState, list[bytes | None]], int | None]


@dataclass
class Outcome:
    """What one run did, entry by entry of its batch."""

    status: int = 0
    states: list[LLMCallState] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    rows: list[list[list[float]]] = field(default_factory=list)
    perf: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The first entry's answer."""
        return self.texts[0].decode(errors="replace") if self.texts else ""


class Driver:
    """One handle of a runtime."""

    def __init__(
        self,
        runtime: Path,
        model: Path | str,
        *,
        tokenizer: Callable[..., int] | None = None,
        embed: Callable[..., int] | None = None,
        **param: float,
    ) -> None:
        limit_spinning()
        self.runtime = library.load(runtime, "1.3.1")
        self.extension = Extension(runtime)
        self.entries = int(param.get("n_batch", 1))
        self.outcome = Outcome()
        self.decide: Decide | None = None
        self._kept: list[object] = []  # whatever C holds a pointer to
        settings = self.runtime.rkllm_createDefaultParam()
        settings.model_path = str(model).encode()
        for name, value in param.items():
            setattr(settings if hasattr(settings, name) else settings.extend_param, name, value)
        callback = RKLLMCallback(result_callback=LLMResultCallback(self._on_result))
        if tokenizer:
            callback.tokenizer_callback = LLMTokenizerCallback(tokenizer)
        if embed:
            callback.embed_callback = LLMGetEmbedCallback(embed)
        self._kept += [settings, callback]
        self.handle = ctypes.c_void_p()
        self.status = self.runtime.rkllm_init(ctypes.byref(self.handle), ctypes.byref(settings), ctypes.byref(callback))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.handle:
            self.runtime.rkllm_destroy(self.handle)

    def call(self, function: str, *arguments: object) -> int:
        """Call rkllm_<function> with this handle."""
        return int(getattr(self.runtime, f"rkllm_{function}")(self.handle, *arguments))

    def _on_result(self, results: Pointer[RKLLMResult], _userdata: int | None, state: int) -> int:
        outcome, count = self.outcome, self.entries
        outcome.states.append(LLMCallState(state))
        if state >= LLMCallState.RKLLM_RUN_FINISH:
            perf = results[0].perf
            outcome.perf = {name: getattr(perf, name) for name, *_ in perf._fields_}
        elif results[0].logits.logits or results[0].last_hidden_layer.hidden_states:
            outcome.rows = [_rows(results[i]) for i in range(count)]
        else:
            for i in range(count):
                if results[i].token_id >= 0:
                    outcome.tokens[i].append(results[i].token_id)
                outcome.texts[i] += results[i].text or b""
        decided = self.decide(LLMCallState(state), [results[i].text for i in range(count)]) if self.decide else 0
        return decided or 0

    def run(
        self,
        *inputs: RKLLMInput | str,
        decide: Decide | None = None,
        function: str = "run",
        mode: RKLLMInferMode = RKLLMInferMode.RKLLM_INFER_GENERATE,
        keep_history: bool = False,
        max_new_tokens: int = 0,
        lora: str | None = None,
        save_cache: Path | None = None,
        sampling: Mapping[str, float] | Sampling | None = None,
        seed: int | None = None,
        meant: Sequence[tuple[int, int]] = (),
        bare: bool = False,
        reuse: bool = False,
        show_special: bool = False,
    ) -> Outcome:
        """Call rkllm_run; with ``function="run_async"``, the outcome grows while the caller goes on."""
        given = [prompt(item) if isinstance(item, str) else item for item in inputs]
        array = (RKLLMInput * len(given))(*given)
        param = RKLLMInferParam(mode=mode, keep_history=keep_history, max_new_tokens=max_new_tokens)
        if lora is not None:
            param.lora_params = ctypes.pointer(RKLLMLoraParam(lora_adapter_name=lora.encode()))
        if save_cache is not None:
            cache = RKLLMPromptCacheParam(save_prompt_cache=1, prompt_cache_path=str(save_cache).encode())
            param.prompt_cache_params = ctypes.pointer(cache)
        if sampling is not None:
            param.sampling_params = ctypes.pointer(self.sampling(**sampling))
        self.outcome = outcome = Outcome(tokens=[[] for _ in given], texts=[b"" for _ in given])
        self.decide = decide
        options = NextRun(seed, meant, bare, reuse, show_special)
        if options != NextRun():
            self.extension.next_run(self.handle, options)
        self._kept[2:] = [array, given, param]
        outcome.status = self.call(function, array, ctypes.byref(param), None)
        return outcome

    def sampling(self, **changes: float) -> RKLLMSamplingParam:
        """Return the default sampling with changes."""
        default = self.runtime.rkllm_createDefaultParam()
        values = {name: getattr(default, name) for name, *_ in RKLLMSamplingParam._fields_}
        return RKLLMSamplingParam(**(values | changes))

    def cache_sizes(self) -> list[int]:
        """Return rkllm_get_kv_cache_size of each entry."""
        sizes = (ctypes.c_int * self.entries)()
        if self.call("get_kv_cache_size", sizes) != 0:
            raise ValueError("rkllm_get_kv_cache_size failed")
        return list(sizes)

    def clear(self, keep_system: bool = False, ranges: Sequence[tuple[int, int]] | None = None) -> int:
        """Call rkllm_clear_kv_cache."""
        if ranges is None:
            return self.call("clear_kv_cache", keep_system, None, None)
        numbers = ctypes.c_int * len(ranges)
        return self.call(
            "clear_kv_cache", keep_system, numbers(*(a for a, _ in ranges)), numbers(*(b for _, b in ranges))
        )

    def load_lora(self, path: Path, name: str, scale: float = 1.0) -> int:
        """Call rkllm_load_lora."""
        adapter = RKLLMLoraAdapter(lora_adapter_path=str(path).encode(), lora_adapter_name=name.encode(), scale=scale)
        return self.call("load_lora", ctypes.byref(adapter))

    def set_tools(self, tools: str, system: str = "", tag: str = "tool_response") -> int:
        """Call rkllm_set_function_tools."""
        return self.call("set_function_tools", system.encode(), tools.encode(), tag.encode())


def prompt(text: str | None, role: str = "user", thinking: bool = False) -> RKLLMInput:
    """Return an input of type RKLLM_INPUT_PROMPT."""
    made = RKLLMInput(role=role.encode(), enable_thinking=thinking, input_type=RKLLMInputType.RKLLM_INPUT_PROMPT)
    made.prompt_input = None if text is None else text.encode()
    return made


def tokens(ids: Sequence[int]) -> RKLLMInput:
    """Return an input of type RKLLM_INPUT_TOKEN."""
    made = RKLLMInput(input_type=RKLLMInputType.RKLLM_INPUT_TOKEN)
    made.token_input.input_ids = (ctypes.c_int32 * len(ids))(*ids)
    made.token_input.n_tokens = len(ids)
    return made


def embeddings(rows: Sequence[Sequence[float]]) -> RKLLMInput:
    """Return an input of type RKLLM_INPUT_EMBED."""
    made = RKLLMInput(input_type=RKLLMInputType.RKLLM_INPUT_EMBED)
    made.embed_input.embed = floats(rows)
    made.embed_input.n_tokens = len(rows)
    return made


def floats(rows: Sequence[Sequence[float]]) -> ctypes.Array[ctypes.c_float]:
    """Return a C array of all numbers of the rows."""
    flat = [number for row in rows for number in row]
    return (ctypes.c_float * len(flat))(*flat)


def _rows(result: RKLLMResult) -> list[list[float]]:
    layer, logits = result.last_hidden_layer, result.logits
    data, width, count = (
        (layer.hidden_states, layer.embd_size, layer.num_tokens)
        if layer.hidden_states
        else (logits.logits, logits.vocab_size, logits.num_tokens)
    )
    return [data[i * width : (i + 1) * width] for i in range(count)]
