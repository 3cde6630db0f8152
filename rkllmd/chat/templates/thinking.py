"""Whether a model can think before it answers: its own chat template shows it."""

from __future__ import annotations

from rkllmd.chat.answers import dialect
from rkllmd.chat.templates import sources
from rkllmd.errors import InvalidParams
from rkllmd.portable import gguf


def of_model(tokenizer: str | None, gguf_path: str | None) -> bool | None:
    """Return whether a model's chat template has a place for reasoning; None where there is none to be read.

    It is the template that conversations are rendered by: that in the tokenizer's folder, else the one in the GGUF
    file. A folder that can't be read is an error of the first conversation, and is none here.
    """
    template = None
    try:
        if tokenizer is not None:
            template = sources.template_of_directory(tokenizer)
        if template is None and gguf_path is not None:
            template = gguf.chat_template(gguf_path)
    except (OSError, InvalidParams):
        return None
    return None if template is None else dialect.thinks(template)
