"""Hidden states and logits of a run: copied out of C's memory while it lasts, and made into JSON after the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rkllmd.abi.c import Pointer, c_float
from rkllmd.abi.json.tensors import copy_tensor
from rkllmd.abi.layouts.rkllm import RKLLMResult
from rkllmd.json_types import JsonObject

Encode = Callable[[bytes, Sequence[int], str], JsonObject]
"""``encode(data, shape, dtype)`` returns a tensor in the form that the client wants."""


class Tensors:
    """What the callbacks of a run have shown."""

    def __init__(self) -> None:
        self._found: list[tuple[str, dict[str, int], bytes]] = []

    def keep(self, result: RKLLMResult) -> None:
        """Copy what a callback shows; to be called in it."""
        hidden, logits = result.last_hidden_layer, result.logits
        self._keep_rows("last_hidden_layer", "embd_size", hidden.embd_size, hidden.num_tokens, hidden.hidden_states)
        self._keep_rows("logits", "vocab_size", logits.vocab_size, logits.num_tokens, logits.logits)

    def _keep_rows(self, name: str, width_name: str, width: int, rows: int, pointer: Pointer[c_float]) -> None:
        data = copy_tensor(pointer, rows * width)
        if data:
            self._found.append((name, {width_name: width, "num_tokens": rows}, data))

    def to_json(self, encode: Encode, *, n_batch: int) -> JsonObject:
        """Return the members of the final result: one object each, or an array of several, or of a batch."""
        members: dict[str, list[JsonObject]] = {}
        for name, sizes, data in self._found:
            content = "hidden_states" if name == "last_hidden_layer" else name
            width = next(iter(sizes.values()))
            tensor = encode(data, (sizes["num_tokens"], width), "float32")
            members.setdefault(name, []).append({**sizes, content: tensor})
        return {name: found[0] if n_batch == 1 and len(found) == 1 else found for name, found in members.items()}
