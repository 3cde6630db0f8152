"""RKLLM structs, enums and callback types that runtimes 1.2.1 to 1.3.1 share byte for byte.

Each mirror has its C text above it; a test compares every field with the layout facts, and compiles ``rkllm.h`` against
the same facts. What differs between the layouts is in ``abi/layouts/rkllm_1_2.py``, ``abi/layouts/rkllm_1_3.py`` and
``abi/layouts/rkllm_1_3_1.py``.
"""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from enum import IntEnum, IntFlag

from rkllmd.abi.c_types import Struct

# typedef void *LLMHandle;
LLMHandle = c_void_p


class LLMCallState(IntEnum):
    """The ``state`` of a result callback."""

    RKLLM_RUN_NORMAL = 0
    RKLLM_RUN_WAITING = 1
    RKLLM_RUN_FINISH = 2
    RKLLM_RUN_ERROR = 3


class RKLLMInputType(IntEnum):
    """Which member of RKLLMInput's union holds the input."""

    RKLLM_INPUT_PROMPT = 0
    RKLLM_INPUT_TOKEN = 1
    RKLLM_INPUT_EMBED = 2
    RKLLM_INPUT_MULTIMODAL = 3


class RKLLMInferMode(IntEnum):
    """What a run produces."""

    RKLLM_INFER_GENERATE = 0
    RKLLM_INFER_GET_LAST_HIDDEN_LAYER = 1
    RKLLM_INFER_GET_LOGITS = 2


class CpuMask(IntFlag):
    """The macros CPU0 to CPU7, for RKLLMExtendParam.enabled_cpus_mask."""

    CPU0 = 1 << 0
    CPU1 = 1 << 1
    CPU2 = 1 << 2
    CPU3 = 1 << 3
    CPU4 = 1 << 4
    CPU5 = 1 << 5
    CPU6 = 1 << 6
    CPU7 = 1 << 7


# typedef struct {
#     int32_t base_domain_id;
#     int8_t embed_flash;
#     int8_t enabled_cpus_num;
#     uint32_t enabled_cpus_mask;
#     uint8_t n_batch;
#     int8_t use_cross_attn;
#     uint8_t reserved[104];
# } RKLLMExtendParam;
class RKLLMExtendParam(Struct):
    """Where and how wide a model runs; part of RKLLMParam."""

    _fields_ = (
        ("base_domain_id", c_int32),
        ("embed_flash", c_int8),
        ("enabled_cpus_num", c_int8),
        ("enabled_cpus_mask", c_uint32),
        ("n_batch", c_uint8),
        ("use_cross_attn", c_int8),
        ("reserved", c_uint8 * 104),
    )
    _flags_ = frozenset({"embed_flash", "use_cross_attn"})


# typedef struct {
#     const char *lora_adapter_path;
#     const char *lora_adapter_name;
#     float scale;
# } RKLLMLoraAdapter;
class RKLLMLoraAdapter(Struct):
    """A LoRA adapter to load beside the model."""

    _fields_ = (
        ("lora_adapter_path", c_char_p),
        ("lora_adapter_name", c_char_p),
        ("scale", c_float),
    )
    _required_ = ("lora_adapter_path",)
    _printed_ = frozenset({"lora_adapter_path", "lora_adapter_name"})
    _names_ = frozenset({"lora_adapter_name"})


# typedef struct {
#     float *embed;        /* n_tokens rows of the model's embedding width */
#     size_t n_tokens;
# } RKLLMEmbedInput;
class RKLLMEmbedInput(Struct):
    """Input as embeddings."""

    _fields_ = (
        ("embed", POINTER(c_float)),
        ("n_tokens", c_size_t),
    )
    _required_ = ("embed",)


# typedef struct {
#     int32_t *input_ids;
#     size_t n_tokens;
# } RKLLMTokenInput;
class RKLLMTokenInput(Struct):
    """Input as token ids."""

    _fields_ = (
        ("input_ids", POINTER(c_int32)),
        ("n_tokens", c_size_t),
    )
    _required_ = ("input_ids",)


# typedef struct {
#     const char *lora_adapter_name;
# } RKLLMLoraParam;
class RKLLMLoraParam(Struct):
    """Which loaded LoRA adapter a run uses."""

    _fields_ = (("lora_adapter_name", c_char_p),)
    _required_ = ("lora_adapter_name",)
    _printed_ = frozenset({"lora_adapter_name"})
    _names_ = frozenset({"lora_adapter_name"})


# typedef struct {
#     int save_prompt_cache;
#     const char *prompt_cache_path;
# } RKLLMPromptCacheParam;
class RKLLMPromptCacheParam(Struct):
    """Whether and where a run saves its prompt cache."""

    _fields_ = (
        ("save_prompt_cache", c_int),
        ("prompt_cache_path", c_char_p),
    )
    _flags_ = frozenset({"save_prompt_cache"})
    _printed_ = frozenset({"prompt_cache_path"})


# typedef struct {
#     float *encoder_k_cache;     /* [layers][tokens][kv_heads][head_dim] */
#     float *encoder_v_cache;     /* [layers][kv_heads][head_dim][tokens] */
#     float *encoder_mask;        /* [tokens] */
#     int32_t *encoder_pos;       /* [tokens] */
#     int num_tokens;
# } RKLLMCrossAttnParam;
class RKLLMCrossAttnParam(Struct):
    """The encoder's side of cross-attention."""

    _fields_ = (
        ("encoder_k_cache", POINTER(c_float)),
        ("encoder_v_cache", POINTER(c_float)),
        ("encoder_mask", POINTER(c_float)),
        ("encoder_pos", POINTER(c_int32)),
        ("num_tokens", c_int),
    )
    _required_ = ("encoder_k_cache", "encoder_v_cache", "encoder_mask", "encoder_pos")


# typedef struct {
#     const float *hidden_states;     /* num_tokens rows of embd_size */
#     int embd_size;
#     int num_tokens;
# } RKLLMResultLastHiddenLayer;
class RKLLMResultLastHiddenLayer(Struct):
    """The last hidden layer; the memory is the runtime's and valid only inside the callback."""

    _fields_ = (
        ("hidden_states", POINTER(c_float)),
        ("embd_size", c_int),
        ("num_tokens", c_int),
    )


# typedef struct {
#     const float *logits;     /* num_tokens rows of vocab_size */
#     int vocab_size;
#     int num_tokens;
# } RKLLMResultLogits;
class RKLLMResultLogits(Struct):
    """The logits; the memory is the runtime's and valid only inside the callback."""

    _fields_ = (
        ("logits", POINTER(c_float)),
        ("vocab_size", c_int),
        ("num_tokens", c_int),
    )


# typedef struct {
#     float prefill_time_ms;
#     int prefill_tokens;
#     float generate_time_ms;
#     int generate_tokens;
#     float memory_usage_mb;
# } RKLLMPerfStat;
class RKLLMPerfStat(Struct):
    """How a run went; filled in with RKLLM_RUN_FINISH only. memory_usage_mb is the process's peak, not its present."""

    _fields_ = (
        ("prefill_time_ms", c_float),
        ("prefill_tokens", c_int),
        ("generate_time_ms", c_float),
        ("generate_tokens", c_int),
        ("memory_usage_mb", c_float),
    )


# typedef struct {
#     const char *text;
#     int32_t token_id;
#     RKLLMResultLastHiddenLayer last_hidden_layer;
#     RKLLMResultLogits logits;
#     RKLLMPerfStat perf;
# } RKLLMResult;
class RKLLMResult(Struct):
    """What one result callback shows; with n_batch > 1 the callback gets an array of these."""

    _fields_ = (
        ("text", c_char_p),
        ("token_id", c_int32),
        ("last_hidden_layer", RKLLMResultLastHiddenLayer),
        ("logits", RKLLMResultLogits),
        ("perf", RKLLMPerfStat),
    )


# Returns 0 to go on, 1 to pause, 2 (1.3) to free the current output buffer.
# typedef int (*LLMResultCallback)(RKLLMResult *result, void *userdata, LLMCallState state);
LLMResultCallback = CFUNCTYPE(c_int, POINTER(RKLLMResult), c_void_p, c_int)

# Token ids in, num_tokens rows of float32 out; len is the buffer's size in bytes; 0 is success. 1.3 only.
# typedef int (*LLMGetEmbedCallback)(void *userdata, int32_t *tokens, uint64_t num_tokens, void *embed, uint64_t len);
LLMGetEmbedCallback = CFUNCTYPE(c_int, c_void_p, POINTER(c_int32), c_uint64, c_void_p, c_uint64)

# Text in (text_len bytes), at most n_tokens_max ids out; the count, or a negative number on error. 1.3 only.
# text is no c_char_p: ctypes would read it up to a NUL that nobody promised.
# typedef int (*LLMTokenizerCallback)(void *userdata, const char *text, int32_t text_len, int32_t *tokens,
#                                     int32_t n_tokens_max);
LLMTokenizerCallback = CFUNCTYPE(c_int, c_void_p, POINTER(c_char), c_int32, POINTER(c_int32), c_int32)
