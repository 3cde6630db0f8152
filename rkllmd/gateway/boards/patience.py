"""How long a client would rather wait than be told that it has to: ``Prefer: wait=600`` (RFC 7240).

A balancer can give a call to another board as long as nothing of an answer has come. So it asks that a stream begins
with the run, and not with comments that say where it is in the queue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NAME: Final = b"prefer"
_WAIT: Final = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*(\d{1,6})\s*(?:$|[,;])", re.IGNORECASE)


def seconds(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """Return what the headers of a request (names in lower case) prefer; None for no preference."""
    found = (_WAIT.search(value) for name, value in headers if name == _NAME)
    return next((float(match[1]) for match in found if match), None)
