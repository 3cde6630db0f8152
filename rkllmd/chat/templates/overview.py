"""What can be said of a model's own chat template when it is loaded: its text, and whether it lets the model think."""

from __future__ import annotations

from rkllmd.chat.answers import dialect
from rkllmd.chat.templates import sources
from rkllmd.chat.templates.model_template import LONGEST_TEMPLATE
from rkllmd.errors import InvalidParams
from rkllmd.portable import gguf
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Overview:
    """What is known of a template; None stands for what is not.

    ``text``: the template, unless it is longer than any that is used. ``thinks``: whether it has a place for reasoning.
    ``bos_token``, ``eos_token``: what begins and ends a text, as the tokenizer's folder says.
    """

    text: str | None = None
    thinks: bool | None = None
    bos_token: str | None = None
    eos_token: str | None = None


def of_model(tokenizer: str | None, gguf_path: str | None) -> Overview:
    """Return what is known of a model's template, without its vocabulary, which is large.

    It is the template that conversations are rendered by: that in the tokenizer's folder, else the one in the GGUF
    file. A folder that can't be read is an error of the first conversation, and is none here.
    """
    template, tokens = None, {}
    try:
        if tokenizer is not None:
            template, tokens = sources.template_of_directory(tokenizer), sources.named_tokens(tokenizer)
        if template is None and gguf_path is not None:
            template = gguf.chat_template(gguf_path)
    except (OSError, InvalidParams):
        return Overview()
    return Overview(
        text=template if template is not None and len(template) <= LONGEST_TEMPLATE else None,
        thinks=None if template is None else dialect.thinks(template),
        bos_token=tokens.get("bos_token"),
        eos_token=tokens.get("eos_token"),
    )
