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
)
# A duration of no time, as clients write it.
_NO_TIME: Final = re.compile("0+[a-z]*")


def take_loading(options: Fields) -> None:
    """Take the options that say how Ollama would load the model; they have no effect."""
    options.without_effect(_LOADING)


def take_leaves(fields: Fields) -> bool:
    """Take ``keep_alive``; return whether the model is to leave at once. Other durations have no effect."""
    given = fields.any("keep_alive")
    return bool(_NO_TIME.fullmatch(given)) if isinstance(given, str) else given == 0
