"""RKLLM structs as runtime 1.3.0 lays them out, where they differ from 1.2; 1.3.1 differs in ``rkllm_1_3_1.py``.

Image tags belong to each input here, a run can have its own sampling, and init takes three callbacks in a struct.
"""

from __future__ import annotations

from ctypes import POINTER, Union, c_bool, c_char_p, c_float, c_int, c_int32, c_size_t, c_void_p
from typing import ClassVar

from rkllmd.abi.c_types import Struct
from rkllmd.abi.layouts.rkllm_common import (
    LLMGetEmbedCallback,
    LLMResultCallback,
    LLMTokenizerCallback,
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
#     bool ignore_eos_token;
#     bool is_async;
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
        ("ignore_eos_token", c_bool),
        ("is_async", c_bool),
        ("extend_param", RKLLMExtendParam),
    )
    _required_ = ("model_path",)
    _printed_ = frozenset({"model_path"})


class RKLLMImageInput(Struct):
    """The unnamed struct ``image`` of RKLLMMultiModalInput; the name is ours."""

    _fields_ = (
        ("image_embed", POINTER(c_float)),
        ("n_image_tokens", c_size_t),
        ("n_image", c_size_t),
        ("image_start", c_char_p),
        ("image_end", c_char_p),
        ("image_content", c_char_p),
        ("image_width", c_size_t),
        ("image_height", c_size_t),
    )
    _required_ = ("image_embed",)


class RKLLMVideoInput(Struct):
    """The unnamed struct ``video`` of RKLLMMultiModalInput; the name is ours."""

    _fields_ = (
        ("video_embed", POINTER(c_float)),
        ("n_frame_tokens", c_size_t),
        ("n_frame_per_video", c_size_t),
        ("n_video", c_size_t),
        ("video_start", c_char_p),
        ("video_end", c_char_p),
        ("video_content", c_char_p),
        ("frame_width", c_size_t),
        ("frame_height", c_size_t),
    )
    _required_ = ("video_embed",)


# typedef struct {
#     char *prompt;
#     struct {
#         float *image_embed;     /* n_image x n_image_tokens rows of the model's embedding width */
#         size_t n_image_tokens;
#         size_t n_image;
#         const char *image_start;
#         const char *image_end;
#         const char *image_content;
#         size_t image_width;
#         size_t image_height;
#     } image;
#     struct {
#         float *video_embed;     /* n_video x n_frame_per_video x n_frame_tokens rows */
#         size_t n_frame_tokens;
#         size_t n_frame_per_video;
#         size_t n_video;
#         const char *video_start;
#         const char *video_end;
#         const char *video_content;
#         size_t frame_width;
#         size_t frame_height;
#     } video;
# } RKLLMMultiModalInput;
class RKLLMMultiModalInput(Struct):
    """Text with the embeddings of images, of videos, or of both."""

    _fields_ = (
        ("prompt", c_char_p),
        ("image", RKLLMImageInput),
        ("video", RKLLMVideoInput),
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
#     int32_t top_k;
#     float top_p;
#     float temperature;
#     float repeat_penalty;
#     float frequency_penalty;
#     float presence_penalty;
#     int32_t mirostat;
#     float mirostat_tau;
#     float mirostat_eta;
# } RKLLMSamplingParam;
class RKLLMSamplingParam(Struct):
    """One run's own sampling. The runtime takes all nine values, so what a client leaves out has to be filled in."""

    _fields_ = (
        ("top_k", c_int32),
        ("top_p", c_float),
        ("temperature", c_float),
        ("repeat_penalty", c_float),
        ("frequency_penalty", c_float),
        ("presence_penalty", c_float),
        ("mirostat", c_int32),
        ("mirostat_tau", c_float),
        ("mirostat_eta", c_float),
    )


# typedef struct {
#     RKLLMInferMode mode;
#     RKLLMLoraParam *lora_params;
#     RKLLMPromptCacheParam *prompt_cache_params;
#     RKLLMSamplingParam *sampling_params;
#     int keep_history;
#     int32_t max_new_tokens;
# } RKLLMInferParam;
class RKLLMInferParam(Struct):
    """What one run is given."""

    _fields_ = (
        ("mode", c_int),
        ("lora_params", POINTER(RKLLMLoraParam)),
        ("prompt_cache_params", POINTER(RKLLMPromptCacheParam)),
        ("sampling_params", POINTER(RKLLMSamplingParam)),
        ("keep_history", c_int),
        ("max_new_tokens", c_int32),
    )
    _enums_: ClassVar = {"mode": RKLLMInferMode}
    _flags_ = frozenset({"keep_history"})


# typedef struct {
#     LLMResultCallback result_callback;
#     void *result_userdata;
#     LLMTokenizerCallback tokenizer_callback;
#     void *tokenizer_userdata;
#     LLMGetEmbedCallback embed_callback;
#     void *embed_userdata;
# } RKLLMCallback;
class RKLLMCallback(Struct):
    """The callbacks given to rkllm_init; keep the object, and what it points to, as long as the handle."""

    _fields_ = (
        ("result_callback", LLMResultCallback),
        ("result_userdata", c_void_p),
        ("tokenizer_callback", LLMTokenizerCallback),
        ("tokenizer_userdata", c_void_p),
        ("embed_callback", LLMGetEmbedCallback),
        ("embed_userdata", c_void_p),
    )
