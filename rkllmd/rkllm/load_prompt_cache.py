"""rkllm_load_prompt_cache: load a prompt cache file; runs then reuse the longest common prefix.

C: int rkllm_load_prompt_cache(LLMHandle handle, const char *prompt_cache_path)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rkllmd import paths
from rkllmd.context import Invocation
from rkllmd.handles import Model
from rkllmd.method import Kind, Value, method
from rkllmd.rkllm._common import LLM, call_with_strings, success


def _resolve(invocation: Invocation, model: Model, prompt_cache_path: str) -> Path:
    allowed = invocation.context.config.allowed_directories
    return paths.readable_file(prompt_cache_path, allowed, "$.prompt_cache_path")


@method(Kind.NPU, [LLM, Value("prompt_cache_path", {"type": "string", "minLength": 1})], check=_resolve)
def load_prompt_cache(invocation: Invocation, model: Model, prompt_cache_path: str) -> dict[str, Any]:
    """Load the file, which a run with save_prompt_cache has written; release one cache before loading another."""
    resolved = _resolve(invocation, model, prompt_cache_path)  # again: the file may have gone while the call waited
    call_with_strings(invocation, model, "rkllm_load_prompt_cache", bytes(resolved))
    return success(prompt_cache_path=prompt_cache_path)
