"""Exercises in copying, which come before the chats.

To repeat a name or to fill in a function's argument, a model has to find what followed the same token before. Chats show
this too rarely for a model as small as ours to find out in the time that it has; on random tokens that occur twice, it
finds out within some hundred steps, and keeps it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 40
FIRST_TOKEN = 3  # after the control tokens


@dataclass(frozen=True)
class Batch:
    """Texts of one length, side by side."""

    tokens: Tensor
    rows: Tensor  # positions after which a learned token comes
    targets: Tensor


def copy_batches(count: int, vocabulary: int, seed: int) -> list[Batch]:
    """Return batches of: some tokens, others, the first ones again; the second time is to be learned."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        length, gap = rng.randint(6, 24), rng.randint(0, 24)
        drawn = torch.randint(FIRST_TOKEN, vocabulary, (ROWS, length + gap), generator=generator)
        tokens = torch.cat((drawn, drawn[:, :length]), 1)
        rows = torch.zeros(ROWS, tokens.shape[1] - 1, dtype=torch.bool)
        rows[:, length + gap :] = True  # the first of them cannot be foreseen
        made.append(Batch(tokens[:, :-1], rows, tokens[:, 1:][rows]))
    return made
