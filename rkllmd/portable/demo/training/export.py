"""Writes the trained model, and a LoRA adapter for it, as GGUF files."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from torch import Tensor

from rkllmd.portable.demo.text import layout
from rkllmd.portable.demo.training.model import Shape

LICENSE = "CC0-1.0"


def _array(tensor: Tensor) -> npt.NDArray[np.floating]:
    values: npt.NDArray[np.floating] = tensor.detach().numpy()
    return values


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    learned = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(learned["vocab"], key=learned["vocab"].get)
    kinds = dict.fromkeys(layout.CONTROL_TOKENS, gguf.TokenType.CONTROL)
    kinds |= dict.fromkeys(layout.TAG_TOKENS, gguf.TokenType.USER_DEFINED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types([kinds.get(piece, gguf.TokenType.NORMAL) for piece in pieces])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in learned["merges"]])
    writer.add_bos_token_id(learned["vocab"][layout.END_OF_TEXT])
    writer.add_eos_token_id(learned["vocab"][layout.END_OF_TURN])
    writer.add_add_bos_token(True)
    writer.add_chat_template(layout.CHAT_TEMPLATE)


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def export_model(path: Path, shape: Shape, weights: dict[str, Tensor], tokenizer: Tokenizer) -> None:
    """Write the model, its matrices as q8_0: half of f16, with the same answers."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("rkllmd demo")
    writer.add_license(LICENSE)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, tokenizer)
    for name, tensor in weights.items():
        values = _array(tensor)
        if values.ndim == 1:
            writer.add_tensor(name, values)
            continue
        quantized = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, quantized, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    _write(writer)


def export_lora(path: Path, alpha: float, pairs: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Write an adapter: for each matrix the pair (a: rank x in, b: out x rank)."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name("rkllmd demo adapter")
    writer.add_license(LICENSE)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, (a, b) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", _array(a.half()))
        writer.add_tensor(f"{name}.lora_b", _array(b.half()))
    _write(writer)
