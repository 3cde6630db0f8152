"""rkllm_set_chat_template: replace the model's own chat template.

C: int rkllm_set_chat_template(LLMHandle handle, const char *system_prompt, const char *prompt_prefix,
    const char *prompt_postfix)

Afterwards enable_thinking has no effect: thinking is then up to the prompt (manual 1.3.0).
"""

from __future__ import annotations

from typing import Any

from rkllmd import conversations
from rkllmd.context import Invocation
from rkllmd.handles import Model
from rkllmd.method import Kind, method
from rkllmd.rkllm._common import LLM, call_with_strings, check_strings, success, text

_NAMES = ("system_prompt", "prompt_prefix", "prompt_postfix")


@method(Kind.ORDERED, [LLM, *(text(name) for name in _NAMES)], check=check_strings, group="template_config")
def set_chat_template(invocation: Invocation, model: Model, **strings: str) -> dict[str, Any]:
    """Set the template; a string that is left out is empty."""
    arguments = [strings.get(name, "").encode() for name in _NAMES]
    with conversations.change(invocation, model):
        call_with_strings(invocation, model, "rkllm_set_chat_template", *arguments)
    return success()
