"""Which markers stand between the turns of a conversation for a loaded model."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rkllmd.language.chats.markers import PLAIN, Markers, of_gguf, of_template
from rkllmd.portable import gguf

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.machine.files import FileIdentity


def of_model(model: Model, runtime: str) -> Markers:
    """Return the markers for a model that ``runtime`` has loaded; plain words if nothing is known."""
    strings = model.strings.get("rkllm_set_chat_template")
    if strings is not None:
        return of_template(strings)
    return _of_file(model.file) if runtime == "portable" and model.file is not None else PLAIN


@lru_cache(maxsize=8)
def _of_file(file: FileIdentity) -> Markers:
    """Return the markers of a GGUF file. Cached: the vocabulary precedes the template, and skipping it takes long."""
    try:
        return of_gguf(gguf.chat_template(file.path))
    except OSError:
        return PLAIN
