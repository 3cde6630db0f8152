"""What must hold between a struct's fields: a count, and the data that it counts.

A count that was left out is inferred from the data. One that was given is checked, since the runtime reads as far as
the count says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from rkllmd.abi.c_types import Struct
from rkllmd.abi.json.tensors import Tensor
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject

Given = JsonObject
Tensors = dict[str, Tensor]


def embed_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMEmbedInput: n_tokens rows."""
    _rows_rule(target, given, tensors["embed"], ("n_tokens",), path)


def image_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMImageInput, nested or flat: n_image x n_image_tokens rows; n_image is 1 if nothing says otherwise."""
    if "image_embed" not in tensors:  # the flat struct of 1.2 does not require it
        raise InvalidParams(f"{path}.image_embed is required.", path=path, keyword="required", limit=["image_embed"])
    _rows_rule(target, given, tensors["image_embed"], ("n_image", "n_image_tokens"), path)


def video_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMVideoInput: n_video x n_frame_per_video x n_frame_tokens rows; n_video is 1 if nothing says more."""
    _rows_rule(target, given, tensors["video_embed"], ("n_video", "n_frame_per_video", "n_frame_tokens"), path)


def audio_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMAudioInput: n_audio x n_audio_tokens rows; n_audio is 1 if nothing says otherwise."""
    _rows_rule(target, given, tensors["audio_embed"], ("n_audio", "n_audio_tokens"), path)


def token_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMTokenInput: n_tokens ids, no more and no fewer."""
    _exact_count(target, "n_tokens", given, tensors["input_ids"].count, path)


_EMBEDDINGS = {
    "embed": ("n_tokens",),
    "image_embed": ("n_image", "n_image_tokens"),
    "video_embed": ("n_video", "n_frame_per_video", "n_frame_tokens"),
    "audio_embed": ("n_audio", "n_audio_tokens"),
}


def check_width(target: Struct, tensors: Tensors, width: int | None, path: str) -> None:
    """Refuse embeddings whose rows are not ``width`` numbers long, if that is known: C would read beyond their end."""
    for name, counts in _EMBEDDINGS.items():
        if name not in tensors or width is None:
            continue
        given = tensors[name].count // math.prod(getattr(target, count) for count in counts)
        if given != width:
            raise InvalidParams(
                f"{path}.{name} has rows of {given} numbers; those of the model's embeddings have {width}.",
                path=f"{path}.{name}",
                keyword="shape",
                limit=width,
            )


def cross_attn_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMCrossAttnParam: mask and pos [tokens]; k and v of one size, [layers][tokens][kv_heads][head_dim]."""
    tokens = tensors["encoder_pos"].count
    _exact_count(target, "num_tokens", given, tokens, path)
    keys, values, mask = (tensors[name].count for name in ("encoder_k_cache", "encoder_v_cache", "encoder_mask"))
    if mask != tokens or keys != values or keys % tokens:
        raise InvalidParams(
            f"{path}: encoder_mask and encoder_pos need num_tokens elements, encoder_k_cache and encoder_v_cache "
            "the same multiple of it.",
            path=path,
            keyword="shape",
            limit=tokens,
        )


def prompt_cache_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """RKLLMPromptCacheParam: to save, a path is needed."""
    if target.save_prompt_cache and not target.prompt_cache_path:
        raise InvalidParams(
            f"{path}.prompt_cache_path is required to save.", path=path, keyword="required", limit=["prompt_cache_path"]
        )


def dims_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """rknn_tensor_attr: n_dims dimensions, none for a scalar; one may be 0, as a decoder's cache is at the start."""
    if "dims" in given:
        _exact_count(target, "n_dims", given, len(given["dims"]), path)


def matrix_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """rknn_matmul_tensor_attr: n_dims dimensions, all of at least 1."""
    dims_rule(target, given, tensors, path)
    if any(size == 0 for size in target.dims[: target.n_dims]):
        raise InvalidParams(f"{path}.dims must be at least 1 each.", path=f"{path}.dims", keyword="minimum", limit=1)


def quant_rule(target: Struct, given: Given, tensors: Tensors, path: str) -> None:
    """rknn_quant_params: as many scales and zero points as are given."""
    for name in ("scale", "zp"):
        if name in tensors:
            _exact_count(target, f"{name}_len", given, tensors[name].count, path)


RULES: dict[str, Callable[[Struct, Given, Tensors, str], None]] = {
    "RKLLMEmbedInput": embed_rule,
    "RKLLMTokenInput": token_rule,
    "RKLLMImageInput": image_rule,
    "RKLLMVideoInput": video_rule,
    "RKLLMAudioInput": audio_rule,
    "RKLLMCrossAttnParam": cross_attn_rule,
    "RKLLMPromptCacheParam": prompt_cache_rule,
    "rknn_tensor_attr": dims_rule,
    "rknn_matmul_tensor_attr": matrix_rule,
    "rknn_quant_params": quant_rule,
}
"""Struct → its rule, called when all fields that the client gave are set."""


def _rows_rule(target: Struct, given: Given, tensor: Tensor, counts: tuple[str, ...], path: str) -> None:
    """Make ``counts``, outermost first, multiply to the number of rows in ``tensor``."""
    rows = tensor.rows
    missing = [name for name in counts if name not in given]
    # Without a shape, nothing says how long a row is. Then only the outermost of several counts may be taken for 1.
    unknown = [name for name in counts[1:] or counts if name in missing and not rows]
    if unknown:
        raise InvalidParams(
            f"{path}.{unknown[0]} is required where the data has no shape.",
            path=path,
            keyword="required",
            limit=unknown,
        )
    for name in missing:
        from_the_end = len(counts) - counts.index(name)
        setattr(target, name, rows[-from_the_end] if from_the_end <= len(rows) else 1)
    if len(missing) == 1 and rows:
        # One unknown is what the others leave over, however the shape groups the rows.
        others = math.prod(getattr(target, name) for name in counts if name not in missing)
        setattr(target, missing[0], math.prod(rows) // others if others else 0)
    total = math.prod(getattr(target, name) for name in counts)
    if total == 0 or tensor.count % total or (rows and math.prod(rows) != total):
        raise InvalidParams(
            f"{path}: {' x '.join(counts)} does not fit the data.", path=path, keyword="shape", limit=list(counts)
        )


def _exact_count(target: Struct, name: str, given: Given, count: int, path: str) -> None:
    if name in given and getattr(target, name) != count:
        raise InvalidParams(
            f"{path}.{name} must be the number of elements given.", path=f"{path}.{name}", keyword="const", limit=count
        )
    setattr(target, name, count)
