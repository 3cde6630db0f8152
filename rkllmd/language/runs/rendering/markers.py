"""Which markers stand between the turns of a conversation for a loaded model."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rkllmd.language.chats.markers import Markers, of_gguf, of_template
from rkllmd.portable import gguf

if TYPE_CHECKING:
    from rkllmd.language.model import Model
    from rkllmd.machine.files import FileIdentity


def of_model(model: Model, runtime: str) -> Markers:
    """Return the markers for a model that ``runtime`` has loaded; plain words if nothing is known."""
    strings = model.strings.get("rkllm_set_chat_template")
    return of_gguf(template_of(model, runtime)) if strings is None else of_template(strings)


def template_of(model: Model, runtime: str) -> str | None:
    """Return the Jinja template in the model's file, or None if it has none or can't be read."""
    return _of_file(model.file) if runtime == "portable" and model.file is not None else None


@lru_cache(maxsize=8)
def _of_file(file: FileIdentity) -> str | None:
    """Return the template of a GGUF file. Cached: the vocabulary precedes it, and skipping that takes long."""
    try:
        return gguf.chat_template(file.path)
    except OSError:
        return None
