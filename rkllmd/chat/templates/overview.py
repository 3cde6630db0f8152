"""What can be said of a model's own words when it is loaded: its chat template, and whether it can fill in gaps."""

from __future__ import annotations

from rkllmd.chat.answers import dialect
from rkllmd.chat.templates import gaps, sources
from rkllmd.chat.templates.model_template import LONGEST_TEMPLATE
from rkllmd.errors import InvalidParams
from rkllmd.portable import gguf
from rkllmd.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Overview:
    """What is known of a model; None stands for what is not.

    ``text``: the template, unless it is longer than any that is used. ``thinks``: whether it has a place for reasoning.
    ``bos_token``, ``eos_token``: what begins and ends a text, as the tokenizer's folder says.
    ``infill``: whether it has the markers of a gap between two texts that it can fill in.
    """

    text: str | None = None
    thinks: bool | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    infill: bool | None = None


def of_model(tokenizer: str | None, gguf_path: str | None) -> Overview:
    """Return what is known of a model, without keeping its vocabulary, which is large.

    It is the template that conversations are rendered by: that in the tokenizer's folder, else the one in the GGUF
    file; the markers are those of the folder alone where there is one. A folder that can't be read is an error of the
    first conversation, and is none here.
    """
    try:
        folder = sources.Outline(None, {}, None) if tokenizer is None else sources.outline_of_directory(tokenizer)
        template, tokens = folder.template, folder.listed_tokens
        if gguf_path is not None:
            template = gguf.chat_template(gguf_path) if template is None else template
            tokens = gguf.gap_tokens(gguf_path) if tokenizer is None else tokens
    except (OSError, InvalidParams):
        return Overview()
    return Overview(
        text=template if template is not None and len(template) <= LONGEST_TEMPLATE else None,
        thinks=None if template is None else dialect.thinks(template),
        bos_token=folder.named_tokens.get("bos_token"),
        eos_token=folder.named_tokens.get("eos_token"),
        infill=None if tokens is None else gaps.markers(tokens) is not None,
    )
