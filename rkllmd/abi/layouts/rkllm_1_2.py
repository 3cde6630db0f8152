"""RKLLM structs as runtimes 1.2.1, 1.2.2 and 1.2.3 lay them out, where they differ from 1.3.

Image tags are parameters of init here; sampling is fixed at init.
"""

from __future__ import annotations

from ctypes import POINTER, Union, c_bool, c_char_p, c_float, c_int, c_int32, c_size_t
from typing import ClassVar

from rkllmd.abi.c_types import Struct
from rkllmd.abi.layouts.rkllm_common import (
    RKLLMEmbedInput,
    RKLLMExtendParam,
    RKLLMInferMode,
    RKLLMInputType,
    RKLLMLoraParam,
    RKLLMPromptCacheParam,
    RKLLMTokenInput,
)


# typedef struct {
#     const char *model_path;
#     int32_t max_context_len;
#     int32_t max_new_tokens;
#     int32_t top_k;
#     int32_t n_keep;
#     float top_p;
#     float temperature;
#     float repeat_penalty;
#     float frequency_penalty;
#     float presence_penalty;
#     int32_t mirostat;
#     float mirostat_tau;
#     float mirostat_eta;
#     bool skip_special_token;
#     bool is_async;
#     const char *img_start;
#     const char *img_end;
#     const char *img_content;
#     RKLLMExtendParam extend_param;
# } RKLLMParam;
class RKLLMParam(Struct):
    """What rkllm_init is given."""

    _fields_ = (
        ("model_path", c_char_p),
        ("max_context_len", c_int32),
        ("max_new_tokens", c_int32),
        ("top_k", c_int32),
        ("n_keep", c_int32),
        ("top_p", c_float),
        ("temperature", c_float),
        ("repeat_penalty", c_float),
        ("frequency_penalty", c_float),
        ("presence_penalty", c_float),
        ("mirostat", c_int32),
        ("mirostat_tau", c_float),
        ("mirostat_eta", c_float),
        ("skip_special_token", c_bool),
        ("is_async", c_bool),
        ("img_start", c_char_p),
        ("img_end", c_char_p),
        ("img_content", c_char_p),
        ("extend_param", RKLLMExtendParam),
    )
    _required_ = ("model_path",)
    _printed_ = frozenset({"model_path"})


# The struct is spelled RKLLMMultiModelInput before 1.2.3.
# typedef struct {
#     char *prompt;
#     float *image_embed;     /* n_image x n_image_tokens rows of the model's embedding width */
#     size_t n_image_tokens;
#     size_t n_image;
#     size_t image_width;
#     size_t image_height;
# } RKLLMMultiModalInput;
class RKLLMMultiModalInput(Struct):
    """Text with the embeddings of images."""

    _fields_ = (
        ("prompt", c_char_p),
        ("image_embed", POINTER(c_float)),
        ("n_image_tokens", c_size_t),
        ("n_image", c_size_t),
        ("image_width", c_size_t),
        ("image_height", c_size_t),
    )
    _required_ = ("prompt",)


class _RKLLMInputUnion(Union):
    _fields_ = (
        ("prompt_input", c_char_p),
        ("embed_input", RKLLMEmbedInput),
        ("token_input", RKLLMTokenInput),
        ("multimodal_input", RKLLMMultiModalInput),
    )


# typedef struct {
#     const char *role;
#     bool enable_thinking;
#     RKLLMInputType input_type;
#     union {
#         const char *prompt_input;
#         RKLLMEmbedInput embed_input;
#         RKLLMTokenInput token_input;
#         RKLLMMultiModalInput multimodal_input;
#     };
# } RKLLMInput;
class RKLLMInput(Struct):
    """One input of a run; with n_batch > 1 a run takes an array of these."""

    _anonymous_ = ("_union",)
    _fields_ = (
        ("role", c_char_p),
        ("enable_thinking", c_bool),
        ("input_type", c_int),
        ("_union", _RKLLMInputUnion),
    )
    _enums_: ClassVar = {"input_type": RKLLMInputType}


# typedef struct {
#     RKLLMInferMode mode;
#     RKLLMLoraParam *lora_params;
#     RKLLMPromptCacheParam *prompt_cache_params;
#     int keep_history;
# } RKLLMInferParam;
class RKLLMInferParam(Struct):
    """What one run is given."""

    _fields_ = (
        ("mode", c_int),
        ("lora_params", POINTER(RKLLMLoraParam)),
        ("prompt_cache_params", POINTER(RKLLMPromptCacheParam)),
        ("keep_history", c_int),
    )
    _enums_: ClassVar = {"mode": RKLLMInferMode}
    _flags_ = frozenset({"keep_history"})
