"""rkllm_set_cross_attn_params: give the encoder's keys and values to a model converted for cross-attention.

C: int rkllm_set_cross_attn_params(LLMHandle handle, RKLLMCrossAttnParam *cross_attn_params)

Float32 tensors: ``encoder_k_cache`` [layers][tokens][kv_heads][head_dim], ``encoder_v_cache``
[layers][kv_heads][head_dim][tokens], ``encoder_mask`` [tokens]; int32 ``encoder_pos`` [tokens] (manual 1.3.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkllmd.abi.c import byref
from rkllmd.calls.declaration import Kind, StructParameter, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.models import cross_attention
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM

if TYPE_CHECKING:
    from rkllmd.calls.arguments import Converted


@method(Kind.ORDERED, [LLM, StructParameter("cross_attn_params", "RKLLMCrossAttnParam")], alters="model")
def set_cross_attn_params(
    language: Language, invocation: Invocation, model: Model, cross_attn_params: Converted
) -> JsonObject:
    """Set the encoder's output for the runs that follow; it stays in memory until it is replaced.

    When the model was loaded again, after a sleep or a crash, it is gone: runs are refused until it is set again.
    """
    runtime = language.runtime
    if runtime.name == "portable":
        raise runtime.not_supported("Cross-attention", needs="the vendor's runtime (librkllmrt.so)")
    with conversations.change(language, invocation, model):
        runtime.call("rkllm_set_cross_attn_params", model.pointer, byref(cross_attn_params.c))
    cross_attention.take(model, cross_attn_params)
    language.remembered.keep(model)
    return success(num_tokens=cross_attn_params.c.num_tokens)
