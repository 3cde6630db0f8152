"""rkllm_set_chat_template: replace the model's own chat template.

C: int rkllm_set_chat_template(LLMHandle handle, const char *system_prompt, const char *prompt_prefix,
    const char *prompt_postfix)

Afterwards enable_thinking has no effect: thinking is then up to the prompt (manual 1.3.0).
"""

from __future__ import annotations

from typing import Final

from rkllmd.calls.declaration import Kind, Value, method
from rkllmd.calls.invocation import Invocation
from rkllmd.calls.results import success
from rkllmd.errors import InvalidParams
from rkllmd.json_types import JsonObject
from rkllmd.language import conversations
from rkllmd.language.model import Model
from rkllmd.language.models.native import give_strings
from rkllmd.language.parts import Language
from rkllmd.rkllm._common import LLM, check_strings, text

_NAMES: Final = ("system_prompt", "prompt_prefix", "prompt_postfix")
# The names that clients of the C server use.
_ALIASES: Final = {
    "system_prompt": "system_template",
    "prompt_prefix": "user_template",
    "prompt_postfix": "assistant_template",
}
_PLACE: Final = "{prompt}"
_WHOLE: Final = Value(
    "chat_template",
    {"type": ["string", "null"], "description": f"Prefix and postfix in one text, around {_PLACE}."},
    required=False,
    in_c=False,
)
_GENERATION: Final = Value(
    "add_generation_prompt",
    {"enum": [True, None], "description": "The template always ends where the answer begins."},
    required=False,
    in_c=False,
)


def _check(
    language: Language,
    invocation: Invocation,
    model: Model,
    add_generation_prompt: bool | None = None,
    **strings: str | None,
) -> None:
    check_strings(model, **strings)
    whole = strings.get("chat_template")
    if whole is None:
        return
    for name in _NAMES:
        if strings.get(name) is not None:
            detail = f"{name} is given beside chat_template, which is the whole template: give either."
            raise InvalidParams(detail, path=f"$.{name}", keyword="oneOf")
    if "{%" in whole or "{{" in whole:
        raise InvalidParams(
            "chat_template is a Jinja template, which the runtimes only take from the model's file: give "
            f"system_prompt, prompt_prefix and prompt_postfix, or a text with {_PLACE} in it.",
            path="$.chat_template",
            keyword="format",
        )
    if whole.count(_PLACE) != 1:
        raise InvalidParams(
            f"chat_template must contain {_PLACE} exactly once, where the prompt goes.",
            path="$.chat_template",
            keyword="pattern",
            limit=_PLACE,
        )


@method(
    Kind.ORDERED,
    [LLM, *(text(name, _ALIASES[name]) for name in _NAMES), _WHOLE, _GENERATION],
    check=_check,
    group="template_config",
    alters="model",
)
def set_chat_template(
    language: Language,
    invocation: Invocation,
    model: Model,
    chat_template: str | None = None,
    add_generation_prompt: bool | None = None,
    **strings: str,
) -> JsonObject:
    """Set the template; strings that are left out are empty."""
    if chat_template is not None:
        prefix, _, postfix = chat_template.partition(_PLACE)
        strings = {"prompt_prefix": prefix, "prompt_postfix": postfix}
    arguments = [strings.get(name, "").encode() for name in _NAMES]
    with conversations.change(language, invocation, model):
        give_strings(language.runtime, model, "rkllm_set_chat_template", arguments)
    language.remembered.keep(model)
    return success()
