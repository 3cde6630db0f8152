"""Writes small GGUF files, and damaged ones: what strangers bring."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rkllmd.portable import build

DEMO = Path(build.__file__).parent / "demo" / "demo.gguf"
LORA = DEMO.with_name("demo-lora.gguf")

_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    """Return a value with its type: whole numbers as uint32, lists of them as int32, as the format's keys want it."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    head = struct.pack("<I", _ARRAY)
    if isinstance(value[0], str):
        return head + struct.pack("<IQ", _STRING, len(value)) + b"".join(map(_string, value))
    kind, code = (_INT32, "i") if isinstance(value[0], int) else (_FLOAT32, "f")
    return head + struct.pack(f"<IQ{len(value)}{code}", kind, len(value), *value)


def write(path: Path, keys: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]], seed: int = 0) -> Path:
    """Write a file with these keys and float32 tensors of these shapes (innermost first), of small random numbers."""
    numbers = random.Random(seed)
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    header += b"".join(_string(key) + _value(value) for key, value in keys.items())
    data = b""
    for name, shape in tensors.items():
        header += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        count = 1
        for size in shape:
            count *= size
        data += struct.pack(f"<{count}f", *(numbers.gauss(0, 0.1) for _ in range(count)))
        data += b"\0" * (-len(data) % _ALIGNMENT)
    path.write_bytes(header + b"\0" * (-len(header) % _ALIGNMENT) + data)
    return path


def embedding_model(path: Path, context: int = 64, width: int = 32, words: int = 59) -> Path:
    """Write a BERT with random weights and a vocabulary of five control tokens and the words w0, w1 and so on."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"\u2581w{number}" for number in range(words))]
    keys = {
        "general.architecture": "bert",
        "bert.context_length": context,
        "bert.embedding_length": width,
        "bert.feed_forward_length": 2 * width,
        "bert.block_count": 1,
        "bert.attention.head_count": 4,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "bert.vocab_size": len(tokens),
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 5 + [1] * words,
        "tokenizer.ggml.scores": [-1000.0] * len(tokens),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.mask_token_id": 4,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 3,
    }
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, len(tokens)),
        "token_types.weight": (width, 2),
        "position_embd.weight": (width, context),
        "token_embd_norm.weight": (width,),
        "token_embd_norm.bias": (width,),
        **{f"blk.0.attn_{part}.weight": (width, width) for part in ("q", "k", "v", "output")},
        **{f"blk.0.attn_{part}.bias": (width,) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_up.weight": (width, 2 * width),
        "blk.0.ffn_up.bias": (2 * width,),
        "blk.0.ffn_down.weight": (2 * width, width),
        "blk.0.ffn_down.bias": (width,),
        **{
            f"blk.0.{norm}_norm.{part}": (width,)
            for norm in ("attn_output", "layer_output")
            for part in ("weight", "bias")
        },
    }
    return write(path, keys, tensors)


def with_value(path: Path, key: str, value: bytes, source: Path = DEMO) -> Path:
    """Write a copy of a model in which a number of its keys is another one."""
    content = bytearray(source.read_bytes())
    at = content.index(_string(key)) + len(_string(key)) + 4
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def with_duplicate_token(path: Path) -> Path:
    """Write a copy of the demo model in whose vocabulary a word stands twice: public models have that."""
    content = DEMO.read_bytes()
    assert content.count(_string("!") + _string('"')) == 1
    path.write_bytes(content.replace(_string("!") + _string('"'), _string("!") * 2))
    return path


def without_template(path: Path) -> Path:
    content = DEMO.read_bytes()
    assert content.count(b"tokenizer.chat_template") == 1
    path.write_bytes(content.replace(b"tokenizer.chat_template", b"tokenizer.chat_nonsense"))
    return path


def with_unknown_template(path: Path) -> Path:
    content = DEMO.read_bytes()
    at = content.index(b"tokenizer.chat_template")
    path.write_bytes(content[:at] + content[at:].replace(b"<|im_start|>", b"<|so_start|>"))
    return path
