"""Where a struct's JSON form is more than its C fields: other spellings, extras, and what only one layout has.

These tables are read by ``convert.py`` (which acts on them) and by ``schemas.py`` (which admits them), so that
the two cannot disagree.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from rkllmd.json_types import JsonObject

ALIASES: dict[str, dict[str, str]] = {
    # Liberties that clients of the C server before this daemon take.
    "RKLLMInput": {"prompt": "prompt_input", "multimodal": "multimodal_input"},
    "RKLLMMultiModalInput": {"image_embed_base64": "image_embed"},
    "RKLLMImageInput": {"image_embed_base64": "image_embed"},
    "rknn_input": {"data": "buf"},
}
"""Struct → other spelling → C name."""


class Extra(NamedTuple):
    """A JSON field that is no field of the struct: which layouts have it (empty: all of them), and what it means."""

    layouts: tuple[str, ...]
    description: str
    schema: JsonObject = {"type": ["string", "null"]}  # noqa: RUF012  # nobody changes it


_CALLBACKS = ("1.3", "1.3.1")  # layouts with RKLLMCallback

EXTRAS: dict[str, dict[str, Extra]] = {
    "RKLLMParam": {
        "tokenizer_path": Extra(
            _CALLBACKS, "A tokenizer.json, for a model converted without its tokenizer (needs the package tokenizers)."
        ),
        "embedding_path": Extra(
            _CALLBACKS, "A raw float32 file [vocabulary, width], for a model converted without its embedding layer."
        ),
        "num_npu_core": Extra(
            (),
            "For how many NPU cores the file was converted; a load of one that was not is refused.",
            {"type": ["integer", "null"], "minimum": 1, "maximum": 16},
        ),
    },
}
"""Struct → extra fields. ``convert.to_c`` leaves them alone; rkllm.init acts on them."""


_FD = {
    "type": "object",
    "properties": {"fd": {"type": "integer", "minimum": 0, "maximum": 15}},
    "required": ["fd"],
    "additionalProperties": False,
    "description": "The n-th file descriptor that comes with the message.",
}

FORMS: dict[tuple[str, str], JsonObject] = {
    ("rknn_run_extend", "fence_fd"): _FD,
    ("rknn_init_extend", "model_buffer_fd"): _FD,
    ("rknn_init_extend", "ctx"): {
        "type": "integer",
        "minimum": 1,
        "description": "The handle of the context to share weights with.",
    },
}
"""(struct, field) → its JSON Schema, where C's number would mean nothing in another process."""


class Elsewhere(NamedTuple):
    """A field that the loaded runtime's layout does not have: which runtime has it, and what to do on this one.

    ``by_daemon``: nothing, since the daemon does there itself what the field asks for.
    """

    needs: str
    instead: str
    by_daemon: bool = False


_NEEDS_1_2 = "1.2.1, 1.2.2 or 1.2.3"
_NEEDS_1_3 = "1.3.0 or 1.3.1"
_NEEDS_1_3_1 = "1.3.1"
_TAGS_PER_INPUT = "Give image_start, image_end and image_content in each multimodal input instead."
_TAGS_AT_INIT = "Give img_start, img_end and img_content to rkllm.init instead."
_CALLBACK = "Convert the model with its tokenizer and embedding layer inside."
_NO_VIDEO = "Give the frames as images instead."
_NO_AUDIO = "There is no substitute; leave it out, or install runtime 1.3.1."

ELSEWHERE: dict[tuple[str, str], Elsewhere] = {
    ("RKLLMParam", "img_start"): Elsewhere(_NEEDS_1_2, _TAGS_PER_INPUT),
    ("RKLLMParam", "img_end"): Elsewhere(_NEEDS_1_2, _TAGS_PER_INPUT),
    ("RKLLMParam", "img_content"): Elsewhere(_NEEDS_1_2, _TAGS_PER_INPUT),
    ("RKLLMParam", "ignore_eos_token"): Elsewhere(_NEEDS_1_3, "There is no substitute; leave it out."),
    ("RKLLMParam", "tokenizer_path"): Elsewhere(_NEEDS_1_3, _CALLBACK),
    ("RKLLMParam", "embedding_path"): Elsewhere(_NEEDS_1_3, _CALLBACK),
    ("RKLLMInferParam", "sampling_params"): Elsewhere(
        _NEEDS_1_3, "Sampling is fixed when the model is loaded: give its fields to rkllm.init instead."
    ),
    ("RKLLMInferParam", "max_new_tokens"): Elsewhere(_NEEDS_1_3, "", by_daemon=True),
    ("RKLLMMultiModalInput", "image_start"): Elsewhere(_NEEDS_1_3, _TAGS_AT_INIT),
    ("RKLLMMultiModalInput", "image_end"): Elsewhere(_NEEDS_1_3, _TAGS_AT_INIT),
    ("RKLLMMultiModalInput", "image_content"): Elsewhere(_NEEDS_1_3, _TAGS_AT_INIT),
    ("RKLLMMultiModalInput", "video"): Elsewhere(_NEEDS_1_3, _NO_VIDEO),
    ("RKLLMMultiModalInput", "audio"): Elsewhere(_NEEDS_1_3_1, _NO_AUDIO),
}
"""(struct, field) → where it exists, for every field that a client may give and some layout does not have."""

IMAGE_FIELDS = frozenset(
    {
        "image_embed",
        "n_image_tokens",
        "n_image",
        "image_start",
        "image_end",
        "image_content",
        "image_width",
        "image_height",
    }
)
"""Fields of RKLLMMultiModalInput: flat in 1.2, inside ``image`` since 1.3; either form is taken for each layout."""

UNION_MEMBERS: dict[str, str] = {
    "prompt_input": "RKLLM_INPUT_PROMPT",
    "token_input": "RKLLM_INPUT_TOKEN",
    "embed_input": "RKLLM_INPUT_EMBED",
    "multimodal_input": "RKLLM_INPUT_MULTIMODAL",
}
"""Member of RKLLMInput's union → the RKLLMInputType that selects it."""

_SHORT_NAME = 64  # longer names are not repeated to their sender: the longest C name has 31 letters


def describe_unknown(name: str, known: Iterable[str]) -> str:
    """Return "the unknown field ..." with the nearest known name, or without any name if the name is long."""
    if len(name) > _SHORT_NAME:
        return "an unknown field with a long name"
    near = difflib.get_close_matches(name, known, n=1)
    return f"the unknown field {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
