"""How much memory the load of a language model asks for: the weights, the KV cache, the runtime's buffers.

A GGUF file says of what sizes its model is, and the portable runtime is ours, so the sums are those that it makes
itself (``portable/rkllm/model/model.cpp``). What a .rkllm file has inside is not published: until a load has shown
what it takes, its KV cache is guessed by the length of the context.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from rkllmd.machine.memory.guard import Demand
from rkllmd.portable import gguf
from rkllmd.trials.trial import Files

if TYPE_CHECKING:
    from rkllmd.abi.c import Struct
    from rkllmd.language.runtime import Runtime
    from rkllmd.portable.gguf import Sizes

# A KV cache for so many tokens is taken to be as large as the weights of 8 bits, and never larger. In models of today
# that is so from 7,000 tokens (Qwen3 0.6B) to 65,000 (Qwen2.5 1.5B).
_TOKENS_AS_LARGE_AS_WEIGHTS: Final = 16_384
# Where neither the client nor the configuration gives a length.
_USUAL_CONTEXT: Final = 4096
# Of the portable runtime: the shortest context that it chooses by itself, the tokens that it computes at once, and
# below which size a model is computed without flash attention.
_LEAST_CONTEXT: Final = 512
_BATCH: Final = 512
_SMALL_MODEL_BYTES: Final = 32 << 20
_HALF: Final = 2
_FLOAT: Final = 4
_ADVICE: Final = ", or give a smaller max_context_len"


def of(runtime: Runtime, path: str, size_bytes: int, param: Struct) -> Demand:
    """Return what a load of this file with this RKLLMParam asks for. Raises OSError."""
    context, entries = int(param.max_context_len), max(1, int(param.extend_param.n_batch))
    sizes = gguf.sizes(path) if runtime.name == "portable" else None
    file_bytes = sum(os.stat(part).st_size for part in Files([path]).paths) if sizes is not None else size_bytes
    if sizes is None:
        tokens = min((context if context > 0 else _USUAL_CONTEXT) * entries, _TOKENS_AS_LARGE_AS_WEIGHTS)
        beside = file_bytes * tokens // _TOKENS_AS_LARGE_AS_WEIGHTS
    else:
        tokens = (context if context > 0 else min(_LEAST_CONTEXT, sizes.context)) * entries
        beside = tokens * _token_bytes(sizes, file_bytes) + _buffer_bytes(sizes)
    key = f"{path} (context {context}, batch {entries})" if context > 0 else path
    return Demand(path, file_bytes, beside, sizes is None, key, _ADVICE if context > _LEAST_CONTEXT else "")


def _token_bytes(sizes: Sizes, file_bytes: int) -> int:
    """Return what a token of context takes: its cell in the KV cache, and a column in the tables of attention."""
    tables = sizes.heads + 1 if file_bytes < _SMALL_MODEL_BYTES else 2
    return sizes.cell_numbers * _HALF + tables * _BATCH * _FLOAT


def _buffer_bytes(sizes: Sizes) -> int:
    """Return what a batch takes in its widest layer: that of the logits, or of a block."""
    widest = max(sizes.vocabulary + sizes.width, 2 * sizes.inner_width + 3 * sizes.width)
    return _BATCH * widest * _FLOAT
