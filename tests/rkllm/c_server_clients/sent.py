"""What older clients send."""

from __future__ import annotations

import base64
import struct
from typing import Any

from tests.rkllm.board import Board

# As their helper functions make it: every field of the struct, "reserved" included.
PARAM: dict[str, Any] = {
    "max_context_len": 512,
    "max_new_tokens": 50,
    "top_k": 40,
    "n_keep": 0,
    "top_p": 0.9,
    "temperature": 0.8,
    "repeat_penalty": 1.1,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "mirostat": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "skip_special_token": False,
    "is_async": False,
    "img_start": None,
    "img_end": None,
    "img_content": None,
    "extend_param": {
        "base_domain_id": 0,
        "embed_flash": 0,
        "enabled_cpus_num": 4,
        "enabled_cpus_mask": 15,
        "n_batch": 1,
        "use_cross_attn": 0,
        "reserved": None,
    },
}
INPUT = {"role": "user", "enable_thinking": False, "input_type": 0, "prompt_input": "Hi"}
INFER = {"mode": 0, "lora_params": None, "prompt_cache_params": None, "keep_history": 0}
# Eight floats, as wide as the simulator is.
EMBED = {
    "image_embed_base64": base64.b64encode(struct.pack("<8f", *range(8))).decode(),
    "n_image_tokens": 1,
    "n_image": 1,
}


def place(error: dict[str, Any]) -> tuple[Any, ...]:
    return error["code"], error["path"], error["keyword"]


def param(board: Board, **extend: Any) -> dict[str, Any]:
    return {"model_path": str(board.model), **PARAM, "extend_param": {**PARAM["extend_param"], **extend}}
