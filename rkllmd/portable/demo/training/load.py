"""Reads a model that export.py wrote, to train it further."""

from __future__ import annotations

from pathlib import Path

import gguf
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from rkllmd.portable.demo.text import layout
from rkllmd.portable.demo.training.model import Model, Shape


def load_model(path: Path, shape: Shape) -> tuple[Model, Tokenizer]:
    """Return the model of a GGUF file, as exact as q8_0 kept it, and its tokenizer.

    Raises RuntimeError if the file's tensors are not those of the shape.
    """
    reader = gguf.GGUFReader(path)
    model = Model(shape)
    weights = {item.name: gguf.quants.dequantize(item.data, item.tensor_type) for item in reader.tensors}
    model.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    return model, _tokenizer(reader)


def _tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    pieces = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = reader.fields["tokenizer.ggml.merges"].contents()
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, [(left, right) for left, _, right in (m.partition(" ") for m in merges)])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*layout.CONTROL_TOKENS, *layout.TAG_TOKENS])
    return tokenizer
