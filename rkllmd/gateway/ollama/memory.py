"""What requests say of a model's place in memory: how it is loaded, and for how long it stays."""

from __future__ import annotations

import re
from typing import Final

from rkllmd.gateway.fields import Fields

# How Ollama loads a model: it is loaded as the daemon's configuration says.
_LOADING: Final = (
    "num_ctx",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "use_mlock",
    "low_vram",
    "numa",
    "f16_kv",
    # Of its earlier versions, which LangChain's and its own clients still have.
    "logits_all",
    "vocab_only",
    "embedding_only",
)
# As Go writes durations, whose unit Ollama's clients leave out at times.
_NUMBER: Final = r"[0-9]+(?:\.[0-9]*)?"
_DURATION: Final = re.compile(rf"[-+]?(?=[0-9])(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))*(?:{_NUMBER})?")
_SOME_TIME: Final = re.compile("[1-9]")


def take_loading(options: Fields) -> None:
    """Take the options that say how Ollama would load the model; they have no effect."""
    options.without_effect(_LOADING)


def take_leaves(fields: Fields) -> bool:
    """Take ``keep_alive``; return whether the model is to leave at once. Other durations have no effect.

    Raises WrongField for anything else.
    """
    given = fields.any("keep_alive")
    if given in (None, ""):
        return False
    if isinstance(given, int | float) and not isinstance(given, bool):
        return given == 0
    if not isinstance(given, str) or not _DURATION.fullmatch(given):
        raise fields.wrong("keep_alive", "must be a number of seconds, or a duration such as 5m.")
    return not _SOME_TIME.search(given)
