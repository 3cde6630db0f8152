"""The ids of tool calls."""

from __future__ import annotations

import secrets
import string
from typing import Final

_CHARACTERS: Final = string.ascii_letters + string.digits


def new_id() -> str:
    """Return an id as OpenAI's look: ``call_`` and 24 letters and digits."""
    return "call_" + _characters(24)


def new_short_id() -> str:
    """Return an id of nine letters and digits: Mistral's templates refuse every other."""
    return _characters(9)


def _characters(count: int) -> str:
    return "".join(secrets.choice(_CHARACTERS) for _ in range(count))
