"""How much memory the load of an RKNN model asks for."""

from __future__ import annotations

from typing import Final

from rkllmd.machine.memory.guard import Demand
from rkllmd.vision.objects import Context

# What the tensors between the layers are taken to need of a model that was never loaded: as much as its weights, but
# not more than they have in the largest vision encoders.
_MOST_INTERNAL_BYTES: Final = 2**27


def of(ctx: Context, part: int = 0) -> Demand:
    """Return it for a context that is to be made: weights, and tensors that nobody knows before it was loaded once.

    ``part``: of how many bytes of its file it is; 0: of all.
    """
    size = part or ctx.size_bytes
    known_by = "" if part else ctx.path  # the parts of a file are not told apart
    return Demand(ctx.path or "a model in memory", size, min(size, _MOST_INTERNAL_BYTES), True, known_by)
