"""Which template a model's conversations are rendered by: its own, else markers that were set, else words."""

from __future__ import annotations

from collections.abc import Sequence

from rkllmd.chat.templates.fallbacks import MarkerTemplate, WordTemplate
from rkllmd.chat.templates.model_template import ModelTemplate
from rkllmd.chat.templates.template import ChatTemplate


def choose(tokenizer: str | None, gguf: str | None, strings: Sequence[bytes] | None) -> ChatTemplate:
    """Return the template for a model.

    ``tokenizer``: the folder that the configuration names; ``gguf``: the model's file where it is one; ``strings``:
    what rkllm_set_chat_template was given last (system prompt, prefix, postfix). Files that have not changed are not
    read again. Raises OSError, InvalidParams for a folder that is none of a tokenizer, NotSupported without jinja2.
    """
    own = ModelTemplate.of_directory(tokenizer) if tokenizer is not None else None
    if own is None and gguf is not None:
        own = ModelTemplate.of_gguf(gguf)
    if own is not None:
        return own
    system, prefix, postfix = (text.decode("utf-8", "replace") for text in strings or (b"", b"", b""))
    return MarkerTemplate(system, prefix, postfix) if prefix or postfix else WordTemplate()
