"""RKLLM structs as runtime 1.3.1 lays them out, where they differ from 1.3.0: a multimodal input may have audio.

RKLLMMultiModalInput grows from 144 bytes to 192 by that, RKLLMInput from 160 to 208 (64-bit), and nothing else changes:
no default parameter and no exported symbol tells the two versions apart.
"""

from __future__ import annotations

from ctypes import POINTER, Union, c_bool, c_char_p, c_float, c_int, c_size_t
from typing import ClassVar

from rkllmd.abi.c_types import Struct
from rkllmd.abi.layouts.rkllm_1_3 import RKLLMImageInput, RKLLMVideoInput
from rkllmd.abi.layouts.rkllm_common import RKLLMEmbedInput, RKLLMInputType, RKLLMTokenInput


class RKLLMAudioInput(Struct):
    """The unnamed struct ``audio`` of RKLLMMultiModalInput; the name is ours."""

    _fields_ = (
        ("audio_embed", POINTER(c_float)),
        ("n_audio_tokens", c_size_t),
        ("n_audio", c_size_t),
        ("audio_start", c_char_p),
        ("audio_end", c_char_p),
        ("audio_content", c_char_p),
    )
    _required_ = ("audio_embed",)


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
#     struct {
#         float *audio_embed;     /* n_audio x n_audio_tokens rows */
#         size_t n_audio_tokens;
#         size_t n_audio;
#         const char *audio_start;
#         const char *audio_end;
#         const char *audio_content;
#     } audio;
# } RKLLMMultiModalInput;
class RKLLMMultiModalInput(Struct):
    """Text with the embeddings of images, of videos, of audio, or of several of them."""

    _fields_ = (
        ("prompt", c_char_p),
        ("image", RKLLMImageInput),
        ("video", RKLLMVideoInput),
        ("audio", RKLLMAudioInput),
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
