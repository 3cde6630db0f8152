"""The C interface of RKLLM in the three layouts that are in the field: structs by C name, and the table of functions.

No exported symbol tells the layouts apart, so ``library.py`` chooses by the version that the file names.
"""

from __future__ import annotations

from ctypes import POINTER, c_char_p, c_int, c_void_p
from types import ModuleType

from rkllmd.abi.c_types import CType, Signature, Struct
from rkllmd.abi.layouts import rkllm_1_2, rkllm_1_3, rkllm_1_3_1, rkllm_common
from rkllmd.abi.layouts.rkllm_common import (
    CpuMask,
    LLMCallState,
    LLMGetEmbedCallback,
    LLMHandle,
    LLMResultCallback,
    LLMTokenizerCallback,
    RKLLMCrossAttnParam,
    RKLLMInferMode,
    RKLLMInputType,
    RKLLMLoraAdapter,
    RKLLMPerfStat,
    RKLLMResult,
)
from rkllmd.quick_dataclass import dataclass

__all__ = [
    "LAYOUTS",
    "CpuMask",
    "LLMCallState",
    "LLMGetEmbedCallback",
    "LLMHandle",
    "LLMResultCallback",
    "LLMTokenizerCallback",
    "Layout",
    "RKLLMInferMode",
    "RKLLMInputType",
    "RKLLMPerfStat",
    "RKLLMResult",
    "Signature",
    "Struct",
]


@dataclass(frozen=True, eq=False)
class Layout:
    """One binary interface: ``name`` ("1.2", "1.3", "1.3.1"), who has it, its structs by C name and its functions."""

    name: str
    runtimes: str
    structs: dict[str, type[Struct]]
    signatures: dict[str, Signature]

    def __getitem__(self, struct: str) -> type[Struct]:
        """Return the struct of this C name."""
        return self.structs[struct]


def _structs(*modules: ModuleType) -> dict[str, type[Struct]]:
    """Return the structs of ``modules`` by C name; a later module's struct replaces an earlier one's."""
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Struct) and value is not Struct
    }


def _signatures(structs: dict[str, type[Struct]], init_callback: CType) -> dict[str, Signature]:
    """Return the table of all functions, with the C declaration above each."""
    param, run_input, infer_param = structs["RKLLMParam"], structs["RKLLMInput"], structs["RKLLMInferParam"]
    run: dict[str, CType] = {
        "handle": LLMHandle,
        "rkllm_input": POINTER(run_input),
        "rkllm_infer_params": POINTER(infer_param),
        "userdata": c_void_p,
    }
    return {
        # RKLLMParam rkllm_createDefaultParam(void);
        "rkllm_createDefaultParam": Signature({}, param),
        # 1.2: int rkllm_init(LLMHandle *handle, RKLLMParam *param, LLMResultCallback callback);
        # 1.3: int rkllm_init(LLMHandle *handle, RKLLMParam *param, RKLLMCallback *callback);
        "rkllm_init": Signature(
            {"handle": POINTER(LLMHandle), "param": POINTER(param), "callback": init_callback}, c_int
        ),
        # int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter *lora_adapter);
        "rkllm_load_lora": Signature({"handle": LLMHandle, "lora_adapter": POINTER(RKLLMLoraAdapter)}, c_int),
        # int rkllm_load_prompt_cache(LLMHandle handle, const char *prompt_cache_path);
        "rkllm_load_prompt_cache": Signature({"handle": LLMHandle, "prompt_cache_path": c_char_p}, c_int),
        # int rkllm_release_prompt_cache(LLMHandle handle);
        "rkllm_release_prompt_cache": Signature({"handle": LLMHandle}, c_int),
        # int rkllm_destroy(LLMHandle handle);
        "rkllm_destroy": Signature({"handle": LLMHandle}, c_int),
        # int rkllm_run(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params,
        #               void *userdata);
        "rkllm_run": Signature(run, c_int),
        # int rkllm_run_async(LLMHandle handle, RKLLMInput *rkllm_input, RKLLMInferParam *rkllm_infer_params,
        #                     void *userdata);
        "rkllm_run_async": Signature(run, c_int),
        # int rkllm_abort(LLMHandle handle);
        "rkllm_abort": Signature({"handle": LLMHandle}, c_int),
        # int rkllm_is_running(LLMHandle handle);
        "rkllm_is_running": Signature({"handle": LLMHandle}, c_int),
        # int rkllm_clear_kv_cache(LLMHandle handle, int keep_system_prompt, int *start_pos, int *end_pos);
        "rkllm_clear_kv_cache": Signature(
            {"handle": LLMHandle, "keep_system_prompt": c_int, "start_pos": POINTER(c_int), "end_pos": POINTER(c_int)},
            c_int,
        ),
        # int rkllm_get_kv_cache_size(LLMHandle handle, int *cache_sizes);
        "rkllm_get_kv_cache_size": Signature({"handle": LLMHandle, "cache_sizes": POINTER(c_int)}, c_int),
        # int rkllm_set_chat_template(LLMHandle handle, const char *system_prompt, const char *prompt_prefix,
        #                             const char *prompt_postfix);
        "rkllm_set_chat_template": Signature(
            {"handle": LLMHandle, "system_prompt": c_char_p, "prompt_prefix": c_char_p, "prompt_postfix": c_char_p},
            c_int,
        ),
        # int rkllm_set_function_tools(LLMHandle handle, const char *system_prompt, const char *tools,
        #                              const char *tool_response_str);
        "rkllm_set_function_tools": Signature(
            {"handle": LLMHandle, "system_prompt": c_char_p, "tools": c_char_p, "tool_response_str": c_char_p},
            c_int,
        ),
        # int rkllm_set_cross_attn_params(LLMHandle handle, RKLLMCrossAttnParam *cross_attn_params);
        "rkllm_set_cross_attn_params": Signature(
            {"handle": LLMHandle, "cross_attn_params": POINTER(RKLLMCrossAttnParam)}, c_int
        ),
    }


_STRUCTS_1_2 = _structs(rkllm_common, rkllm_1_2)
_STRUCTS_1_3 = _structs(rkllm_common, rkllm_1_3)
_STRUCTS_1_3_1 = _structs(rkllm_common, rkllm_1_3, rkllm_1_3_1)

LAYOUTS: dict[str, Layout] = {
    "1.2": Layout("1.2", "1.2.1, 1.2.2 and 1.2.3", _STRUCTS_1_2, _signatures(_STRUCTS_1_2, LLMResultCallback)),
    "1.3": Layout("1.3", "1.3.0", _STRUCTS_1_3, _signatures(_STRUCTS_1_3, POINTER(rkllm_1_3.RKLLMCallback))),
    "1.3.1": Layout("1.3.1", "1.3.1", _STRUCTS_1_3_1, _signatures(_STRUCTS_1_3_1, POINTER(rkllm_1_3.RKLLMCallback))),
}
