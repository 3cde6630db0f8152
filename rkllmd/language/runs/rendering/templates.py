"""By which template a model's conversations become text, and which one C puts around prompts meanwhile.

The order: the model's own template, in the folder that the configuration declares or in its GGUF file; then markers
that were set, or are known to be in its file; then words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson
import structlog

from rkllmd.chat.templates.model_template import ModelTemplate
from rkllmd.errors import InvalidParams, NotSupported
from rkllmd.json_types import JsonObject
from rkllmd.language.chats.inside import InsideTemplate
from rkllmd.language.chats.own_template import OwnTemplate
from rkllmd.language.chats.reuse import Template
from rkllmd.language.runs.rendering.markers import of_model as markers_of

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.language.parts import Language

log = structlog.get_logger()

_TOOL_TAG: Final = "tool_response"
_SET_TOOLS: Final = "rkllm_set_function_tools"
_SET: Final = "rkllm_set_chat_template"
_NONE: Final = [b"", b"", b""]


def of_conversation(
    language: Language, model: Model, tools: Sequence[JsonObject], *, thinking: bool, is_session: bool = False
) -> Template:
    """Return the template for a conversation with these tools; on the worker thread.

    A session is made of prompts, so what a client has set for prompts (template, system prompt, functions) holds there.
    Raises InvalidParams, RuntimeFailure for a declared one that can't be used, NotSupported if a package is missing.
    """
    own, tag = None, tool_tag(model)
    if not is_session or model.strings.keys().isdisjoint((_SET, _SET_TOOLS)):
        own = own_of(language, model)
    if own is not None:
        return OwnTemplate(own, tools or None, thinking, tag)
    told = orjson.dumps(list(tools)).decode() if tools else ""
    return InsideTemplate(markers_of(model, language.runtime.name), told, tag)


def tool_tag(model: Model) -> str:
    """Return the tag between which a function's result stands."""
    strings = model.strings.get(_SET_TOOLS, [b"", b"", b""])
    return strings[2].decode("utf-8", "replace").strip("<>") or _TOOL_TAG


def own_of(language: Language, model: Model) -> ModelTemplate | None:
    """Return the model's own template; None if there is none. Files that have not changed are not read again."""
    own = None if model.tokenizer is None else _of_directory(model.tokenizer)
    if own is None and language.runtime.name == "portable" and model.file is not None:
        try:
            own = ModelTemplate.of_gguf(model.file.path)
        except (OSError, NotSupported) as error:  # the markers of common templates are known without jinja2
            log.debug("chat_template_not_used", model_path=model.path, reason=str(error))
    return own


def _of_directory(directory: str) -> ModelTemplate | None:
    try:
        return ModelTemplate.of_directory(directory)
    except OSError as error:
        raise InvalidParams(
            f"tokenizer: {directory} can't be read: {error.strerror}.", path="$.tokenizer", keyword="file"
        ) from None


def check_bare(language: Language, model: Model) -> None:
    """Refuse to take the template away from C that nobody could put back. Raises NotSupported, InvalidParams."""
    if language.runtime.extension is not None or _SET in model.strings or own_of(language, model) is not None:
        return
    raise language.runtime.not_supported(
        "a prompt without the chat template",
        needs="the model's tokenizer, or a chat_template of its own, in the configuration: the runtime does not give "
        "the template back that it has in the model's file",
    )


def tell_c(language: Language, model: Model, *, is_bare: bool) -> None:
    """Make C put no template around prompts, or again the one that was set. Raises RuntimeFailure.

    C is called only if that is another one than now. The template that C has by itself does not come back before the
    model is loaded again: until then the daemon puts the model's own around prompts (``plain_prompts.py``).
    """
    if language.runtime.extension is not None:  # it is told before each run
        return
    strings = _NONE if is_bare else model.strings.get(_SET)
    if strings is None or is_bare == model.is_bare:
        return
    if model.strings.get(_SET) != _NONE:
        language.runtime.call(_SET, model.pointer, *strings, on=model)
    model.is_bare = is_bare
